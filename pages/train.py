"""Train: how the shipped baselines were trained, and what each strategy buys."""

import streamlit as st

from gencomp_core.services import ablations
from gencomp_core.workloads import CATALOG
from pages._train_views import KEPT, curves, one_strategy, overview
from pages._widgets import forget_unless_in, nothing_yet, pick_workload, shown_errors

workload = pick_workload()
network = CATALOG[workload].sibling_of or workload
st.title("Train")

with shown_errors():
    made = ablations.baseline(workload)
    if made is None:
        nothing_yet(
            f"training records of {workload}", "Train it here.",
            command=f"python -m gencomp_core train {network} --config assets/training/{workload}.yaml "
            f"--out runs/{workload}",
        )  # fmt: skip
    else:
        st.markdown(
            f"**{CATALOG[workload].title}** was trained for **{made.steps:,} steps** in **{made.minutes:.0f} minutes** "
            "on this kind of machine: the dense baseline of every page."
        )
        left, right = st.columns([2, 1])
        with left:
            curves(made.curve, key="shipped", alt=f"Training curve of {workload}")
        right.caption("Configuration")
        right.code(made.configuration, language="yaml", wrap_lines=True)

st.subheader("What each strategy buys")
with shown_errors():
    found = ablations.recorded()
    everywhere = st.toggle("All networks", key="train.everywhere", **KEPT)
    table = ablations.overview(found, None if everywhere else network) if found else None
    if table is None or table.empty:
        nothing_yet(
            "recorded ablations" if table is None else f"recorded ablations of {network}",
            "One command records those that are missing, in short runs with and without each strategy.",
            command=ablations.COMMAND,
        )
    else:
        names = list(table["name"])
        forget_unless_in("train.ablation", names)
        overview(table, names)
        name = st.session_state["train.ablation"]
        one_strategy(found, table[table["name"] == name].iloc[0].to_dict())
for note in ablations.NOTES:
    st.caption(f"**{note.row}: {note.title.lower()}.** {note.text}")

with st.expander("Run your own", icon=":material/terminal:"), shown_errors():
    st.markdown("Write the fields that differ into `my.yaml`, one `field: value` a line, with `steps` among them:")
    st.code(f"python -m gencomp_core train {network} --config my.yaml --out runs/my", language="bash")
    st.dataframe(ablations.configuration_fields(network), hide_index=True, key="train.fields")
