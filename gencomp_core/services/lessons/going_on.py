"""Lessons for those who have pruned and rounded before."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gencomp_core.charts import lessons as draw
from gencomp_core.charts.texts import aligned_texts, n_changed_words
from gencomp_core.services.lessons.evidence import (
    eager_latency,
    measured,
    prune,
    quantize,
    series,
    sheets,
)
from gencomp_core.services.lessons.lesson import ChoiceGuess, Lesson, NumberGuess, Reveal
from gencomp_core.services.texts import stored_texts
from gencomp_core.store import Store

VAE, VERSES, GAN = "fashion-vae", "verses-transformer", "fashion-gan"
N_TEXTS = 3
GPTQ = quantize(3, rounding="gptq", clipping="mse")
ROUNDINGS = {
    "nearest": [quantize(3)],
    "nearest, MSE clipping": [quantize(3, clipping="mse")],
    "GPTQ, MSE clipping": [GPTQ],
}
CHANNELS = {"kind": "channel-pruning", "importance": "taylor"}
RATIOS = (0.1, 0.2, 0.3, 0.5)
FEWER = prune(0.3, "global")
A, B = "sheet A", "sheet B"


def nearest_or_gptq(store: Store) -> Reveal:
    """What part of the drift of rounding GPTQ removes."""
    ways = {
        "nearest": [quantize(3)],
        "nearest, MSE clipping": [quantize(3, clipping="mse")],
        "GPTQ, MSE clipping": [GPTQ],
    }
    table = series(store, VERSES, ways)
    drift = dict(zip(table["x"], table["drift"], strict=True))
    removed = 100 * (1 - drift["GPTQ, MSE clipping"] / drift["nearest"])
    shown = pd.DataFrame({"x": table["x"], "quality": table["drift"]})
    scores = "; ".join(f"{row['x']} {row['quality']:.1f}" for row in table.to_dict("records"))
    best = measured(store, VERSES, GPTQ)
    return Reveal(
        truth=removed,
        sentence=(
            f"{removed:.0f} %: the KL to dense falls from {drift['nearest']:.3f} to "
            f"{drift['GPTQ, MSE clipping']:.3f} nats "
            f"a piece at equal bits. BLEU ↑: {scores}."
        ),
        figure=draw.bars(
            shown, x_title="3 bits, rounded by", y_title="KL to dense, nats ↓", right=("GPTQ, MSE clipping",)
        ),
        alt="KL to dense of three ways to round to three bits.",
        table=table.drop(columns="signature"),
        texts=_texts(store, best.signature),
        signature=best.signature,
    )


def which_sheet_is_better(store: Store) -> Mapping[str, bytes]:
    """Dense and pruned samples without their names."""
    contents = sheets(store, [measured(store, VAE), measured(store, VAE, FEWER)]).values()
    return dict(zip((A, B), contents, strict=False))


def is_fid_blind(store: Store) -> Reveal:
    """A pruned model with a lower FID than dense, whose samples drifted."""
    table = series(store, VAE, {A: [], B: [FEWER]})
    scores = dict(zip(table["x"], table["quality"], strict=True))
    pruned = measured(store, VAE, FEWER)
    change, drift = pruned.quality_change, pruned.fidelity["psnr_db"]
    interval = f"[{change.low:+.2f}, {change.high:+.2f}]" if change else ""
    right = (A,) if scores[A] < scores[B] else (B,)
    return Reveal(
        truth=right,
        sentence=(
            f"A is dense with an FID of {scores[A]:.2f}; B has lost 30 % of its weights and has {scores[B]:.2f}, a "
            f"paired "
            f"difference of {interval}. Yet its samples lie {drift.value:.1f} dB PSNR away from dense's: they "
            f"changed, "
            "and FID calls it an improvement."
        ),
        figure=draw.bars(table, x_title="", y_title="FID ↓", right=right),
        alt="FID of the dense and of the pruned model with intervals.",
        table=table.drop(columns="signature"),
        signature=pruned.signature,
    )


def half_the_macs(store: Store) -> Reveal:
    """Time against multiply-accumulates as channels go."""
    dense = measured(store, GAN)
    rows: list[dict[str, Any]] = []
    for ratio in RATIOS:
        found = measured(store, GAN, CHANNELS | {"pruning_ratio": ratio})
        latency = eager_latency(found)
        rows.append(
            {
                "x": f"{ratio:.0%}",
                "macs": 100 * found.macs / dense.macs,
                "time": 100 * latency.ratio,
                "size_bytes": found.size_bytes,
                "title": found.title,
            }
        )
    table = pd.DataFrame(rows)
    nearest = min(rows, key=lambda row: abs(float(row["macs"]) - 50))
    shown = pd.concat(
        [
            pd.DataFrame({"x": table["x"] + " of channels: MACs", "quality": table["macs"]}),
            pd.DataFrame({"x": table["x"] + " of channels: time", "quality": table["time"]}),
        ]
    ).sort_index(kind="stable")
    found = measured(store, GAN, CHANNELS | {"pruning_ratio": RATIOS[rows.index(nearest)]})
    return Reveal(
        truth=float(nearest["time"]),
        sentence=(
            f"With {nearest['x']} of the channels gone, {nearest['macs']:.0f} % of the multiplications are left, and "
            f"{nearest['time']:.0f} % of the time (eager, one sample, interleaved with dense)."
        ),
        figure=draw.bars(
            shown, x_title="", y_title="% of dense ↓", right=tuple(name for name in shown["x"] if name.endswith("time"))
        ),
        alt="Multiplications and time left, as a share of dense, for four shares of channels removed.",
        table=table,
        sheets=sheets(store, [dense, found]),
        signature=found.signature,
    )


def _texts(store: Store, signature: str) -> str:
    """The texts that rounding to nearest changed most: dense, nearest and GPTQ side by side."""
    dense, nearest = measured(store, VERSES), measured(store, VERSES, quantize(3))
    found = [stored_texts(store, own) for own in (dense.signature, nearest.signature, signature)]
    if any(own is None for own in found):
        return ""
    before, rough, fine = (own.texts for own in found if own is not None)
    changes = [n_changed_words(one, other) for one, other in zip(rough, before, strict=True)]
    numbers = sorted(range(len(changes)), key=lambda number: -changes[number])[:N_TEXTS]
    columns = {"dense": before, "GPTQ": fine, "nearest": rough}
    return aligned_texts(columns, changed="nearest", original="dense", numbers=numbers)


GOING_ON = (
    Lesson(
        "rounding", "going on", "Round to nearest, or GPTQ?", VERSES,
        "GPTQ rounds one column after another and lets the next ones make up for the error. At 3 bits: what part of "
        "the "
        "drift from dense (KL) does it remove, with the same number of bits?",
        NumberGuess("Drift removed, %", 0, 100, 5, 20, "%", near=10),
        nearest_or_gptq,
        "Rounding each weight by itself keeps the weights near, which nobody asked for. GPTQ keeps the layer's "
        "output near, "
        "on inputs that it has really seen. BLEU sees little of it, because most words stay; KL sees every "
        "probability.",
        (GPTQ,),
    ),
    Lesson(
        "blind", "going on", "Why FID alone is blind", VAE,
        "One sheet comes from the dense model, the other from one that lost 30 % of its weights. Which has the lower "
        "(better) FID?",
        ChoiceGuess("Lower FID", (A, B)),
        is_fid_blind,
        "FID compares the mean and spread of features of many pictures with those of real ones. A model that is not "
        "very "
        "good can drift towards that mean while single pictures get worse. So GenComp shows a same-seed measure "
        "beside it.",
        (FEWER,),
        show_first=which_sheet_is_better,
    ),
    Lesson(
        "macs", "going on", "Half the MACs, half the time?", GAN,
        "Channels are cut out until about half of the multiplications are left. How long does a picture take, as a "
        "share "
        "of dense?",
        NumberGuess("Share of dense's time, %", 10, 110, 5, 50, "%", near=7),
        half_the_macs,
        "Multiplications are not all that takes time. Norms, activations, copies and the calls themselves stay, and "
        "small "
        "matrices use the processor less well. Only the clock knows: so GenComp measures it.",
        (CHANNELS | {"pruning_ratio": 0.3},),
    ),
)  # fmt: skip
