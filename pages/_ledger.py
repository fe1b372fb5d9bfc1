"""The ledger: what the planner said beside what was measured afterwards."""

import streamlit as st

from gencomp_core.charts.plans import predicted_chart
from gencomp_core.services import library, predictions
from gencomp_core.store import Store
from pages._widgets import table_twin


def ledger_view(store: Store, workload: str) -> None:
    """How far predictions were off, as a sentence, a chart and a table; opened on demand."""
    panel = st.expander("Predicted against measured", icon=":material/rule:", key="pareto.ledger", on_change="rerun")
    if not panel.open:
        return
    with panel:
        table = predictions.ledger(store, workload)
        told = predictions.ledger_account(table)
        if not told["n"]:
            st.info(
                f"{len(table)} predictions are kept, none was measured since. Measure one of them on Explore.",
                icon=":material/inbox:",
            )
            return
        title = library.metric_of(workload).title
        parts = [f"**{told['n']}** predictions were measured afterwards."]
        if told["largest_size_error"] is not None:
            parts.append(f"Exact bytes were off by {told['largest_size_error']:,} at most.")
        if told["n_quality"]:
            parts.append(
                f"{told['inside']:.0%} of {told['n_quality']} changes of {title} lay in their interval (19 of 20 "
                f"should); the median error was {told['median_error']:.2f}."
            )
        if told["spearman"] is not None:
            parts.append(f"Damage and measured loss have rank correlation {told['spearman']:.2f}.")
        st.markdown(" ".join(parts))
        st.plotly_chart(predicted_chart(table, title=title), key="pareto.predicted")
        table_twin(table, filename=f"{workload}-ledger.csv", key="ledger")
