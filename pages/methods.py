"""Methods: what every stage does, when it helps, where it comes from, and how to write it."""

import streamlit as st

from gencomp_core.records import FIGURES, METRICS
from gencomp_core.services.techniques import technique_table
from pages._machine_views import break_even_section
from pages._methods_views import technique
from pages._widgets import ARROWS, pick_workload

pick_workload()
st.title("Methods")
rows = technique_table()
st.markdown(
    f"**{len(rows)} stages** make a recipe, in any order and as often as you like. Each is a plain function from a "
    "paper; what runs is what is packed. Open one to see what it does to a bundled model, and when it helps."
)
wanted = st.text_input("Search", key="methods.search", bind="query-params", placeholder="such as Hessian, 2:4 or head")
words = wanted.lower().split()
found = [row for row in rows if all(word in str(row).lower() for word in words)]
if len(found) < len(rows):
    st.caption(f"{len(found)} of {len(rows)} stages speak of that.")
for family in dict.fromkeys(row["family"] for row in found):
    st.subheader(family.capitalize())
    for row in (row for row in found if row["family"] == family):
        technique(row)

break_even_section()

st.subheader("How numbers are made")
st.markdown("\n".join(f"- **{facts.title}** {ARROWS[facts.better]}: {facts.about}" for facts in METRICS.values()))
st.markdown("\n".join(f"- {text}" for text in FIGURES.values()))
st.caption(
    "Every quality has a 95% bootstrap interval over samples; differences to dense are paired by seed. Bytes are "
    "those of the weights file; MACs are counted by torch's FLOP counter; milliseconds are measured beside dense."
)
