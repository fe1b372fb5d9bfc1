"""The parts of Recover: runs compared, one of them in full, and a plan for minutes."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
import streamlit as st

from gencomp_core.charts.recovery import X_TITLES, Y_TITLES, forecast_chart, recovery_curves
from gencomp_core.charts.texts import aligned_texts
from gencomp_core.charts.theme import bytes_text
from gencomp_core.records import METRICS
from gencomp_core.records.recovery import RecoveryRun
from gencomp_core.services import recoveries
from gencomp_core.store import Store
from pages._widgets import ARROWS, DELTA_COLOURS, forget_unless_in, link_to, table_twin

KEPT = {"bind": "query-params", "persist_state": "session"}
MEASURED = "Both models were packed, reloaded and sampled; the curve is of data that training never saw."
PICK = "recover.run"


def best_sentence(runs: Sequence[RecoveryRun]) -> None:
    """The answer: which training gave most back."""
    table = recoveries.overview(runs).dropna(subset=["gap"])
    if table.empty:
        st.markdown(f"**{len(runs)}** recorded trainings, none after a loss that is sure.")
        return
    best = table.sort_values("gap_low", ascending=False).iloc[0]
    st.markdown(
        f"Of what **{best['damage']}** loses, **{best['rung']}** brings **{best['gap']:.0%}** "
        f"[{best['gap_low']:.0%}, {best['gap_high']:.0%}] back in **{best['cpu_minutes']:.1f} minutes** of one core: "
        f"the surest of {len(table)} recorded trainings."
    )


def compare(runs: Sequence[RecoveryRun]) -> None:
    """Curves of runs that differ in one thing, and the table of all."""
    available = [name for name in recoveries.COMPARISONS if recoveries.compared(runs, name)]
    forget_unless_in("recover.compare", available)
    left, middle, right = st.columns([2, 1, 1])
    name = left.selectbox("Compare", available, key="recover.compare", **KEPT)
    y = middle.selectbox("Show", list(Y_TITLES), key="recover.y", format_func=Y_TITLES.__getitem__, **KEPT)
    x = right.selectbox("Over", list(X_TITLES), key="recover.x", format_func=X_TITLES.__getitem__, **KEPT)
    shown = recoveries.compared(runs, name)
    table = recoveries.curve_table(shown)
    n_hidden = len(shown) - table.dropna(subset=[y])["run"].nunique()
    st.plotly_chart(
        recovery_curves(table, x=x, y=y), key="recover.curves", config={"displaylogo": False},
        alt=f"{Y_TITLES[y]} over {X_TITLES[x]} of {len(shown)} trainings",
    )  # fmt: skip
    hidden = f" {n_hidden} of {len(shown)} hidden: they change no such thing, or nothing was lost." if n_hidden else ""
    st.caption(f"Hollow points are looks before the model is as compressed as in the end.{hidden}")
    table_twin(recoveries.overview(runs), filename="recovery.csv", key="recover.overview")


def one_run(store: Store, runs: Sequence[RecoveryRun]) -> None:
    """Figures, samples along the way and curve of one run."""
    names = recoveries.labels(runs)
    forget_unless_in(PICK, names.values())
    picked = st.selectbox("One training in full", list(names.values()), key=PICK, **KEPT)
    run = next(own for own in runs if names[own.id] == picked)
    tiles(run)
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge("measured", color="green", help=MEASURED)
        st.caption(
            f"n = {run.n_samples:,}, seed {run.seed}, {run.machine}. Brackets: 95 % interval, paired with dense."
        )
    along_the_way(store, run)
    if recoveries.measured(store, run) is not None:
        to: dict[str, Any] = {"workload": run.workload, "pick": run.signature}
        link_to("pages/gallery.py", "Compare its samples with others", icon=":material/compare:", **to)


def tiles(run: RecoveryRun) -> None:
    """With and without training, gap recovered, its pace, bytes."""
    facts, row = METRICS[run.metric], recoveries.overview([run]).iloc[0]
    places = st.columns(4)
    places[0].metric(
        f"{facts.title} {ARROWS[facts.better]}", f"{run.quality.value:.2f}", f"{run.recovered.value:+.2f} to dense",
        delta_color=DELTA_COLOURS[facts.better], border=True,
        delta_description=f"[{run.recovered.low:+.2f}, {run.recovered.high:+.2f}]",
        help=f"After training. {facts.about}",
    )  # fmt: skip
    lost = run.damaged
    places[1].metric(
        "Without training", f"{lost.value:+.2f}" if lost else "–", border=True,
        delta_description=f"[{lost.low:+.2f}, {lost.high:+.2f}]" if lost else "nothing is compressed",
        help=f"{facts.title} to dense of {run.damage_title}.",
    )  # fmt: skip
    known = pd.notna(row["gap"])
    places[2].metric(
        "Gap recovered ↑", f"{row['gap']:.0%}" if known else "–", border=True,
        delta_description=f"[{row['gap_low']:.0%}, {row['gap_high']:.0%}]" if known else "no loss is sure",
        help="(damaged − recovered) / (damaged − dense). The ends pair the far ends of both intervals.",
    )  # fmt: skip
    places[3].metric(
        "A minute gives", f"{row['gap_per_minute']:.0%}" if known else "–", border=True,
        delta_description=f"{row['cpu_minutes']:.1f} min, {bytes_text(run.size_bytes)}",
        help="Gap recovered for each minute of processor time, and the bytes of the weights file.",
    )  # fmt: skip


def along_the_way(store: Store, run: RecoveryRun) -> None:
    """The same samples at every look, from before training to its end."""
    picture = recoveries.picture(store, run)
    if picture:
        st.caption("The same noise at every look: the top row is before the last training, the bottom row its end.")
        st.image(picture, alt=f"Samples along the way of {run.title}")
    texts = recoveries.texts(store, run)
    if texts:
        names = [f"step {step}" for step in texts["steps"]]
        columns = {"source": texts["sources"], **dict(zip(names, texts["texts"], strict=True))}
        st.caption("The same verses at every look; words that training changed are marked.")
        st.html(aligned_texts(columns, changed=names[-1], original=names[0], numbers=range(len(texts["sources"]))))
    if not picture and not texts:
        st.caption("No samples along the way are kept of it.")


def plan_panel(store: Store, workload: str) -> None:
    """What each rung is likely to give in some minutes."""
    left, right = st.columns(2)
    minutes = left.slider("Minutes of one core", 0.1, 15.0, 1.0, 0.1, key="recover.minutes", **KEPT)
    kinds = recoveries.damages_of(store, workload)
    forget_unless_in("recover.damage", kinds)
    damage = right.selectbox("After it was", kinds, key="recover.damage", **KEPT)
    rows = recoveries.forecasts(store, workload, minutes, damaged_by=damage)
    st.plotly_chart(
        forecast_chart(rows), key="recover.plan", config={"displaylogo": False},
        alt=f"Predicted share of the damage that each of {len(rows)} trainings mends in {minutes} minutes",
    )  # fmt: skip
    n_beyond = sum(row["beyond"] for row in rows)
    beyond = f" {n_beyond} are told for less time: their curves are shorter." if n_beyond else ""
    st.badge("predicted", color="blue", help="From recorded curves; nothing was run.")
    st.caption(f"The interval is what the same procedure misses recorded curves by.{beyond}")
    table_twin(pd.DataFrame(rows), filename="recovery-plan.csv", key="recover.forecast")
    st.code(f"python -m gencomp_core recovery-plan {workload} --minutes {minutes:g}", language="bash")
