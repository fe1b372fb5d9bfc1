"""From which width a number format pays on this machine: a verdict for each, the chart, and its table."""

import streamlit as st

from gencomp_core.charts.break_even import break_even_chart
from gencomp_core.records.machines import MachineProfile
from gencomp_core.services import machines
from pages._widgets import nothing_yet, shown_errors

COMMAND = "gencomp machine"


def break_even_section() -> None:
    """A switch under the stages; what it shows is read and drawn when it is on."""
    st.subheader("What pays on this machine", anchor="what-pays")
    if not st.toggle("From which width does a format pay?", key="methods.machine", bind="query-params"):
        return
    with shown_errors():
        profile = machines.recorded_profile()
        if profile is None:
            nothing_yet("timings of single layers", "One command takes them.", command=COMMAND)
        else:
            _profile(profile)


def _profile(profile: MachineProfile) -> None:
    table = machines.break_even_table(profile)
    names = {machines.KIND_NAMES.get(kind, kind): kind for kind in table["kind"].unique()}
    left, right = st.columns(2)
    name = left.selectbox("Layer", list(names), key="methods.machine.layer", bind="query-params")
    own = table[table["kind"] == names[name]]
    sizes = {
        f"batch {batch}, {positions} {'position' if positions == 1 else 'positions'}": (positions, batch)
        for positions, batch in own[["positions", "batch"]].drop_duplicates().itertuples(index=False)
    }
    # Other layers were timed at other sizes: a choice of its own for each.
    size = right.selectbox("Size", list(sizes), index=len(sizes) - 1, key=f"methods.machine.size.{names[name]}")
    positions, batch = sizes[size]
    shown = own[(own["positions"] == positions) & (own["batch"] == batch)]
    st.markdown("\n".join(f"- {sentence}" for sentence in machines.verdicts(shown)))
    st.plotly_chart(
        break_even_chart(shown),
        key="methods.machine.chart",
        config={"displayModeBar": False},
        alt=f"Times faster than floats in the same runtime, by width: {name}, {size}",
    )
    st.download_button(
        "Download CSV", shown.to_csv(index=False), file_name="break-even.csv", mime="text/csv",
        key="methods.machine.csv", on_click="ignore", icon=":material/download:",
    )  # fmt: skip
    st.caption(f":green-badge[measured] {_conditions(profile)}")


def _conditions(profile: MachineProfile) -> str:
    where = f"{profile.machine['processor']}, one thread, {profile.measured_at[:10]}"
    engines = ", ".join(
        f"{name} {profile.versions[name]}" for name in ("torch", "openvino", "onnxruntime") if name in profile.versions
    )
    if machines.is_of_this_machine(profile):
        return f"On this machine: {where}; {engines}."
    return f"Recorded on another machine or with other versions: {where}; {engines}. `{COMMAND}` times this one."
