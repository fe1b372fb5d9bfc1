"""The parts of Train: curves, the overview of all strategies, and one of them in full."""

from collections.abc import Mapping
from typing import Any

import pandas as pd
import streamlit as st

from gencomp_core.charts.texts import aligned_texts
from gencomp_core.charts.theme import bytes_text
from gencomp_core.charts.training import X_TITLES, curve_chart, strategy_chart
from gencomp_core.records import METRICS
from gencomp_core.services import ablations
from gencomp_core.workloads import CATALOG
from pages._widgets import ARROWS, DELTA_COLOURS, clicked_signature, table_twin

KEPT = {"bind": "query-params", "persist_state": "session"}
MEASURED = "Trained and judged by the command below, at the seeds that the table names."


def curves(curve: pd.DataFrame, *, key: str, alt: str) -> None:
    """Loss and held-out figure over steps or seconds, with their table."""
    over = st.segmented_control("Over", list(X_TITLES), default="step", required=True, key=f"train.{key}.over", **KEPT)
    quantity = ablations.held_out(curve)
    facts = METRICS.get(quantity or "")
    name, better = (facts.title, facts.better) if facts else ((quantity or "").replace("_", " "), "lower")
    title = f"{name} ({better} is better)"
    figure = curve_chart(curve, x=over, held_out=quantity, held_out_title=title, log=quantity == "fid")
    st.plotly_chart(figure, key=f"train.{key}.curve", config={"displaylogo": False}, alt=f"{alt}: loss and {title}")
    table_twin(curve, filename=f"train-{key}.csv", key=f"train.{key}")


def overview(table: pd.DataFrame, names: list[str]) -> None:
    """How many strategies helped, which one is picked, and the chart of all of them."""
    counts = table["verdict"].value_counts()
    told = ", ".join(f"{name}: {n}" for name, n in counts.items())
    hidden = int(table["times_better"].isna().sum())
    left_out = f" {hidden} not on the chart: a run failed." if hidden else ""
    st.markdown(f"Strategies tried with and without, for equally long: **{len(table)}** ({told}).{left_out}")
    clicked = clicked_signature(st.session_state.get("train.overview") or {"selection": {"points": []}})
    if clicked in names and st.session_state.get("train.clicked") != clicked:
        st.session_state["train.clicked"] = st.session_state["train.ablation"] = clicked
    picked = st.selectbox("Strategy (click a point, or choose here)", names, key="train.ablation", **KEPT)
    st.plotly_chart(
        strategy_chart(table, selected=picked), key="train.overview", on_select="rerun", selection_mode="points",
        config={"displaylogo": False}, alt=f"Dot plot of {len(table)} strategies: times as good with each as without",
    )  # fmt: skip
    table_twin(table, filename="ablations.csv", key="train.verdicts")


def one_strategy(found: ablations.Recorded, verdict: Mapping[str, Any]) -> None:
    """Question, verdict, figures, samples, curves and command of one ablation."""
    name, arms = verdict["name"], ablations.arms(found, verdict["name"])
    st.subheader(verdict["title"])
    st.markdown(f"{verdict['question']} *{verdict['row']}; {verdict['source']}.*")
    st.markdown(ablations.sentence(verdict))
    tiles(verdict["network"], arms)
    others = [
        f"{figure} {arm} it {value:.2f} [{low:.2f}, {high:.2f}]"
        for arm, mean in arms.items() for figure, (value, low, high) in mean["figures"].items()
    ]  # fmt: skip
    with st.container(horizontal=True, vertical_alignment="center"):
        st.badge("measured", color="green", help=MEASURED)
        st.caption(f"Also {'; '.join(others)}. Brackets: 95% interval over samples." if others else "Nothing to show.")
    samples(found, verdict)
    curves(ablations.curves_of(found, name), key=name, alt=f"Curves of {verdict['title']}, with and without")
    st.caption("Every run, with its seed, status and machine:")
    table_twin(ablations.runs_of(found, name), filename=f"train-{name}-runs.csv", key=f"train.{name}.runs")
    st.code(f"{ablations.COMMAND} {name}", language="bash")


def tiles(network: str, arms: Mapping[str, Mapping[str, Any]]) -> None:
    """Metric of both arms; seconds and memory of the second against the first."""
    facts = METRICS[CATALOG[network].metric]
    places = [*st.columns(2), *st.columns(2)]  # four in a row cut their values off
    for place, (arm, mean) in zip(places, arms.items(), strict=False):
        place.metric(
            f"{facts.title} {arm} it {ARROWS[facts.better]}", f"{mean['value']:.2f}",
            delta_description=f"[{mean['low']:.2f}, {mean['high']:.2f}]", border=True, height="stretch",
            help=f"{mean['quality']}. Mean of the seeds, at the end of the run. {facts.about}",
        )  # fmt: skip
    if len(arms) == 2:
        before, after = arms.values()
        places[2].metric(
            "Training with it ↓", f"{after['seconds']:.0f} s",
            f"{after['seconds'] / before['seconds'] - 1:+.0%}" if before["seconds"] else None,
            delta_color=DELTA_COLOURS["lower"], delta_description=f"without {before['seconds']:.0f} s", border=True,
            height="stretch",
            help="Processor time of one core, validations included.",
        )  # fmt: skip
        memory = after["peak_bytes"] - before["peak_bytes"]
        known = pd.notna(memory)
        places[3].metric(
            "Peak memory with it ↓", bytes_text(after["peak_bytes"]) if known else "not known",
            f"{memory / 1e6:+.0f} MB" if known and memory else None, delta_color=DELTA_COLOURS["lower"],
            delta_description=f"without {bytes_text(before['peak_bytes'])}" if known else None, border=True,
            height="stretch",
            help="Of training and its validations, above what the process held before.",
        )  # fmt: skip


def samples(found: ablations.Recorded, verdict: Mapping[str, Any]) -> None:
    """Strips of images from the same noise, or a few verses with changed words marked."""
    pictures = {arm: ablations.picture(verdict["name"], arm) for arm in ("without", "with")}
    for place, (arm, picture) in zip(st.columns(2), pictures.items(), strict=True):
        if picture:
            place.caption(f"Samples {arm} it, first seed, same noise")
            place.image(picture, width="stretch", alt=f"20 samples {arm} {verdict['title']}")
    texts = {str(column): list(values) for column, values in ablations.text_samples(found, verdict["name"]).items()}
    if {"without", "with"} <= texts.keys():
        numbers = range(len(texts["with"]))
        st.html(aligned_texts(texts, changed="with", original="without", numbers=numbers))
