"""The honesty panel of Explore, Pareto and Export: on paper beside what was written and measured."""

from collections.abc import Sequence

import streamlit as st

from gencomp_core.charts.theme import bytes_text
from gencomp_core.records import TensorCost
from gencomp_core.services.honesty import Honesty


def honesty_panel(account: Honesty, *, tensors: Sequence[TensorCost] = ()) -> None:
    """Verdict, a table of theory and fact, and what usually helps."""
    with st.container(border=True):
        st.markdown(f"**What it really bought.** {account.verdict}")
        lines = [f"| {row.what} | {row.on_paper} | {row.really} |" for row in account.rows]
        st.markdown("\n".join(["| | on paper | really |", "|---|---|---|", *lines]))
        for remedy in account.remedies:
            st.markdown(f":material/build: {remedy}")
        st.caption(
            f"{bytes_text(account.overhead_bytes)} of the file are scales and zero points. Tensors coded as "
            f"{', '.join(f'{name}: {n}' for name, n in account.codings.items())}."
        )
        if not tensors:
            return
        by_tensor = st.expander("Tensor by tensor", icon=":material/table:", key="explore.tensors", on_change="rerun")
        if by_tensor.open:  # a long table, even unseen, would hold up the pictures by 0.3 s
            with by_tensor:
                st.dataframe([tensor.model_dump() for tensor in tensors], hide_index=True)
