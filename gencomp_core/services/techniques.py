"""Every recipe stage with its schema, for listings and the Methods page. No torch."""

import inspect
from typing import Any

import yaml

from gencomp_core.charts.theme import family
from gencomp_core.recipes.stage import Stage
from gencomp_core.recipes.stages import STAGES

EXAMPLES: dict[str, dict[str, Any]] = {
    "adaptive-pruning": {"max_output_change": 0.05},
    "gradient-pruning": {"criterion": "taylor"},
    "float-format": {"format": "nf4"},
    "block-removal": {"n_blocks": 1},
}
"""Values of required fields that no default of their type stands for."""
USUAL: dict[str, Any] = {"sparsity": 0.5, "pruning_ratio": 0.3, "bits": 4}

WHEN: dict[str, str] = {
    "magnitude-pruning": (
        "The first thing to try, up to about half of the weights. Beyond that rank over the whole network: "
        "`verses-transformer` at 70 % zeros keeps a BLEU of 46.24 [43.0, 49.3] that way and 32.20 [27.7, 36.5] "
        "layer by layer (dense 59.67, n = 200)."
    ),
    "wanda-pruning": (
        "Where a few inputs are much stronger than the others. Here they are not: at 60 % zeros it ties with "
        "magnitude, BLEU 56.51 [53.9, 59.1] against 57.95 [55.2, 60.7] (`verses-transformer`, n = 200)."
    ),
    "sparsegpt-pruning": (
        "Above half of the weights, for 2.5 seconds of one core: at 70 % zeros a BLEU of 48.03 [43.2, 52.5] is "
        "left, 32.20 [27.7, 36.5] with magnitude by layer (`verses-transformer`, dense 59.67, n = 200)."
    ),
    "gradient-pruning": (
        "With thousands of calibration samples. Fisher on 2,048 of them keeps a BLEU of 50.87 [46.9, 54.4] at 70 %"
        " zeros, on 256 only 39.3, because words that were not met go first (`verses-transformer`, n = 200)."
    ),
    "adaptive-pruning": (
        "When the change that you can bear is known and the sparsity is not. Allowed an output change of 0.1, it "
        "packs `verses-transformer` into 7,943,422 bytes of 13,246,108 at a BLEU of 58.93 [56.25, 61.61], a tie "
        "with dense (59.67, n = 200)."
    ),
    "weight-quantization": (
        "Always, and first: 8 bits are a quarter of the bytes at an FID of 0.88 [0.64, 1.14], dense 0.90 "
        "(`fashion-diffusion`, n = 1,000). At 3 bits choose GPTQ with MSE clipping, which keeps a BLEU of 59.26 "
        "[56.5, 61.9] where nearest has 57.79 [55.1, 60.5] (`verses-transformer`, n = 200)."
    ),
    "float-format": (
        "Where integers don't run. FP8-E4M3 is as good as dense, BLEU 59.59 against 59.67; NF4 keeps 59.42 at the "
        "bytes of 4-bit integers in groups of 64, with a KL of 0.009 against their 0.013 (`verses-transformer`, n "
        "= 200)."
    ),
    "low-rank-correction": (
        "At 3 bits and below, if there are bytes to spare: samples of `fashion-vae` come back from a PSNR of 24.8 "
        "to 28.3 dB with a rank of 8, at 1.7 × the bytes (n = 1,000). A fourth bit gives 33.0."
    ),
    "bias-correction": (
        "It costs half a second and changes little: after 3-bit rounding a BLEU of 58.21 [55.6, 61.0] against "
        "57.79 [55.1, 60.5] without it, which is a tie (`verses-transformer`, n = 200)."
    ),
    "cross-layer-equalization": (
        "With one scale per tensor and channels of very different ranges. The pairs of `verses-transformer` are "
        "even already: at 4 bits per tensor a BLEU of 58.90 [56.17, 61.46] with it and 59.10 [56.36, 61.68] "
        "without tie (n = 200)."
    ),
    "smooth-quant": (
        "Where single input channels are outliers, which these networks hardly have: with activations of 6 bits "
        "`verses-transformer` has a KL of 0.00213 with it and 0.00257 without, at a BLEU of 59.32 [56.45, 62.05] "
        "and 59.62 [56.78, 62.35], a tie (n = 200)."
    ),
    "activation-quantization": (
        "To run integers on real hardware. Calibrate on all steps: `fashion-diffusion` with 8-bit weights and "
        "activations has an FID of 1.09 [0.74, 1.53] then, and 1.87 [1.48, 2.35] with ranges from the last step "
        "alone (float activations 0.98, n = 500)."
    ),
    "channel-pruning": (
        "To save time as well as bytes, with the refit: 30 % of the channels of `fashion-vae` cost +0.51 [0.24, "
        "0.85] FID for × 0.65 of the bytes and × 0.57 of the MACs, +23.4 without it (n = 1,000)."
    ),
    "head-pruning": (
        "Where attention is a large part of the network. Half of the heads of `verses-transformer` cost −2.73 "
        "[−4.3, −0.8] BLEU for × 0.84 of the bytes and MACs (n = 200); 30 % of all channels save more for less."
    ),
    "block-removal": (
        "For one block, hardly for two: `verses-transformer` loses −1.39 BLEU for × 0.87 of the bytes without one "
        "of its layers and −28.0 without two (n = 200)."
    ),
    "low-rank-factorization": (
        "To save time as well as bytes where layers are wide for what they carry. Kept to 99 % of the energy of "
        "each output, `verses-transformer` has × 0.70 of the bytes and × 0.71 of the MACs at −0.61 [−1.62, 0.31] "
        "BLEU, a tie; to 95 % it loses −9.22 (n = 200)."
    ),
    "fine-tune": (
        "After pruning, nearly always: 70 % zeros in `fashion-vae` cost an FID of 6.98 [6.39, 7.51], of which 22 "
        "seconds "
        "of one core give 83 % back (n = 1,000; 200 steps, FID 4.25 against 10.03)."
    ),
    "quantization-aware-training": (
        "At 4 bits and below with integer activations: `fashion-diffusion` falls from an FID of 5.83 [5.35, 6.30] "
        "to 1.18 "
        "[0.90, 1.46] in 219 seconds of one core, 94 % of the gap to dense (n = 1,000, 300 steps)."
    ),
    "iterative-pruning": (
        "Where one cut is too much at once. Here it isn't: in the same 200 steps 70 % zeros in `fashion-vae` end at "
        "an FID "
        "of 4.77 [4.30, 5.30] step by step and 4.25 [3.78, 4.73] in one cut and tuning (n = 1,000)."
    ),
    "movement-pruning": (
        "With thousands of steps from a model that is tuned to another task. 200 steps are too few for its scores: "
        "`fashion-vae` collapses to an FID of 50.5, where magnitude and tuning end at 4.25 (n = 1,000, 70 %)."
    ),
    "hard-concrete-pruning": (
        "When there is time for gates to learn what can go. In 200 steps from a trained model magnitude is ahead: 70 % "
        "zeros in `fashion-vae` end at an FID of 6.01 [5.53, 6.44], and at 4.77 [4.30, 5.30] by iterative "
        "magnitude (n = 1,000)."
    ),
    "regularized-pruning": (
        "When there is time before the cut: growing decay over 200 steps leaves `fashion-vae` an FID of 4.68 [4.21, "
        "5.15] at "
        "70 % zeros, from 10.03 untuned; plain tuning afterwards reaches 4.25 (n = 1,000)."
    ),
    "regrowth": (
        "At high sparsity with long tuning. In 200 steps it holds `fashion-vae` back, an FID of 5.48 [4.95, 5.95] "
        "against "
        "4.25 for the same mask kept (n = 1,000, 70 %), because weights that come back start from zero."
    ),
    "step-distillation": (
        "Where steps cost most of the time: `fashion-diffusion` has an FID of 1.49 [1.07, 2.06] in 8 steps and 3.37 "
        "[2.66, 4.24] in 4 (n = 500), which is the gap that it works on. How much comes back is not measured yet."
    ),
    "self-critical-tuning": (
        "When BLEU itself is what counts, after other tuning: it follows whole texts, slowly. What compressing left "
        "to win "
        "on `verses-transformer` is 0.56 BLEU [-0.29, 1.29] after 3-bit training (n = 500), less than the noise."
    ),
}
"""When a stage helps, in figures from the tables of docs/benchmarks.md."""


def technique_table() -> list[dict[str, Any]]:
    """One row per stage: kind, family, help, more about it, when it helps, source, fields, example, JSON schema."""
    return [
        {
            "kind": kind,
            "family": family([kind]),
            "help": _documentation(stage)[0],
            "about": _documentation(stage)[1],
            "when": WHEN.get(kind, ""),
            "source": stage.source,
            "fields": _fields(stage),
            "example": yaml.safe_dump({"stages": [example(kind)]}, sort_keys=False),
            "schema": stage.model_json_schema(),
        }
        for kind, stage in STAGES.items()
    ]


def example(kind: str) -> dict[str, Any]:
    """A valid stage of this kind in its plain form, with the fields that it must have."""
    required = {name for name, field in STAGES[kind].model_fields.items() if field.is_required()}
    usual = {name: value for name, value in USUAL.items() if name in required}
    return {"kind": kind, **usual, **EXAMPLES.get(kind, {})}


def _documentation(stage: type[Stage]) -> tuple[str, str]:
    """First line and the paragraphs before the attributes, of the stage's docstring."""
    first, _, rest = inspect.cleandoc(stage.__doc__ or "").partition("\n")
    return first, rest.partition("Attributes:")[0].strip()


def _fields(stage: type[Stage]) -> list[dict[str, str]]:
    """Name, meaning and default of every field."""
    return [
        {
            "field": name,
            "meaning": field.description or "",
            "default": "required" if field.is_required() else str(field.get_default(call_default_factory=True)),
        }
        for name, field in stage.model_fields.items()
        if name not in ("kind", "layers")
    ]
