"""Overview: what this model loses and gains at the recommended configuration."""

import streamlit as st

from gencomp_core.services import library
from gencomp_core.workloads import CATALOG
from pages._guided_path import guided_steps
from pages._samples import before_and_after
from pages._widgets import (
    conditions_text,
    fidelity_tile,
    latency_tile,
    link_to,
    nothing_yet,
    pick_workload,
    quality_tile,
    read_measurement,
    restore_demo_button,
    shown_errors,
    size_tile,
    status_line,
    store_or_stop,
)

workload = pick_workload()
st.title(f"How small can {CATALOG[workload].title} become?")
store = store_or_stop()
table = library.figures(store, workload)
if table.empty:
    nothing_yet(
        "measurements",
        "The recorded demo study holds a frontier for each bundled model.",
        command=f"python -m gencomp_core evaluate {workload} --samples 1000",
    )
    restore_demo_button(store)
    st.stop()

comparable = table[table["conditions"] == library.conditions(table)[0]]
max_loss = library.metric_of(workload).usual_loss
signature = library.recommended(comparable, workload)
best = read_measurement(store, signature)
if best is None:
    st.warning(
        f"None of the {len(comparable)} measured configurations is surely within {max_loss:.0%} of dense quality. "
        "Explore a milder one.",
        icon=":material/warning:",
    )
    link_to("pages/explore.py", "Open Explore", icon=":material/tune:", workload=workload)
    st.stop()

st.markdown(
    f"**{best.title}** makes it **{best.n_times_smaller:.1f} × smaller** with a quality surely within "
    f"{max_loss:.0%} of dense: the smallest of {len(comparable)} measured configurations that is."
)
with shown_errors():
    columns = st.columns(4)
    size_tile(columns[0], best.size_bytes, best.dense_size_bytes)
    quality_tile(columns[1], best)
    latency_tile(columns[2], best)
    fidelity_tile(columns[3], best)
    status_line(best.status, conditions_text(best))
    before_and_after(store, best, n=24, columns=12)

left, middle, right = st.columns(3)
to = {"workload": workload, "pick": best.signature}
link_to("pages/explore.py", "Try other settings", icon=":material/tune:", place=left, **to)
link_to("pages/pareto.py", "See the whole frontier", icon=":material/show_chart:", place=middle, **to)
link_to("pages/export.py", "Export this configuration", icon=":material/download:", place=right, **to)

with shown_errors():
    guided_steps(store, workload, dense_size_bytes=best.dense_size_bytes)
