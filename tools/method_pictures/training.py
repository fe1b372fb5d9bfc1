"""Pictures of stages that train: held-out figures over their steps."""

from collections.abc import Mapping
from typing import Any

import torch

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recovery.lessons import lesson_for
from gencomp_core.services.pictures import Picture
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload
from tools.method_pictures.tables import DIFFUSION, VAE, VERSES, rounded

STEPS, CHECKS = 200, 6
PRUNED = {"kind": "magnitude-pruning", "sparsity": 0.7}
ROUNDED = [{"kind": "weight-quantization", "bits": 3}, {"kind": "activation-quantization"}]
ELBO = "negative evidence lower bound, nats an image"
Stages = list[dict[str, Any]]


def trained(kind: str, **fields: Any) -> dict[str, Any]:
    """Plain form of a stage of 200 steps."""
    return {"kind": kind, "steps": STEPS, "checks": CHECKS, **fields}


def fine_tuning() -> list[Picture]:
    """Rungs of tuning after 70 % zeros, on the VAE."""
    ways = {
        "everything": [PRUNED, trained("fine-tune")],
        "no teacher": [PRUNED, trained("fine-tune", distillation=0)],
        "rank 8": [PRUNED, trained("fine-tune", trainable="low-rank")],
        "norms and biases": [PRUNED, trained("fine-tune", trainable="norms-and-biases")],
    }
    return [curves(VAE, ways, "Held-out figure after 70 % of the weights went", ELBO)]


def under_rounding() -> list[Picture]:
    """Training under rounding with and without scales, on the VAE."""
    ways = {
        "scales and ranges learned": [*ROUNDED, trained("quantization-aware-training")],
        "weights alone (fine-tune)": [*ROUNDED, trained("fine-tune")],
    }
    return [curves(VAE, ways, "Held-out figure with 3-bit weights and 8-bit activations", ELBO)]


def iterative() -> list[Picture]:
    """70 % at once against ten rounds, on the VAE."""
    ways = {
        "one-shot, then tuned": [PRUNED, trained("fine-tune")],
        "ten rounds": [trained("iterative-pruning", sparsity=0.7)],
        "ten rounds, rate rewound": [trained("iterative-pruning", sparsity=0.7, rewind="rate")],
    }
    return [curves(VAE, ways, "Held-out figure on the way to 70 % zeros", ELBO)]


def movement() -> list[Picture]:
    """Movement against magnitude on the way to 70 %, on the VAE."""
    ways = {
        "magnitude": [trained("iterative-pruning", sparsity=0.7)],
        "movement": [trained("movement-pruning", sparsity=0.7)],
    }
    return [curves(VAE, ways, "Held-out figure on the way to 70 % zeros", ELBO)]


def hard_concrete() -> list[Picture]:
    """Learned gates against magnitude on the way to 70 %, on the VAE."""
    ways = {
        "magnitude": [trained("iterative-pruning", sparsity=0.7)],
        "hard-concrete gates": [trained("hard-concrete-pruning", sparsity=0.7)],
    }
    return [curves(VAE, ways, "Held-out figure on the way to 70 % zeros", ELBO)]


def regularized() -> list[Picture]:
    """Three penalties before 70 % go, on the VAE."""
    ways = {
        name: [trained("regularized-pruning", sparsity=0.7, penalty=name)] for name in ("l1", "group-lasso", "growing")
    }
    return [curves(VAE, ways, "Held-out figure: a penalty for half of the steps, then 70 % zeros", ELBO)]


def regrowth() -> list[Picture]:
    """Fixed zeros against zeros that change places, on the VAE."""
    ways = {
        "zeros stay": [PRUNED, trained("fine-tune")],
        "zeros change places": [PRUNED, trained("regrowth")],
    }
    return [curves(VAE, ways, "Held-out figure after 70 % of the weights went", ELBO)]


def fewer_steps() -> list[Picture]:
    """One sampler step of a quarter of the way against the teacher's two, on the diffusion model."""
    ways = {"taught": [{"kind": "step-distillation", "sampler_steps": 4, "steps": 60, "checks": CHECKS}]}
    return [
        curves(DIFFUSION, ways, "Difference of one of four steps to two of the teacher's", "squared velocity error")
    ]


def self_critical() -> list[Picture]:
    """BLEU while it is the reward, on the verse model."""
    stage = {"kind": "self-critical-tuning", "steps": 12, "batch_size": 16, "checks": 3}
    return [curves(VERSES, {"self-critical": [*ROUNDED, stage]}, "BLEU of 300 validation verses, negative", "-BLEU")]


def curves(name: str, ways: Mapping[str, Stages], title: str, unit: str) -> Picture:
    """Held-out figures over the steps of the last stage, beside that of dense."""
    workload = load_workload(name)
    recipes = {way: Recipe.from_dict({"stages": stages}) for way, stages in ways.items()}
    found = {way: compress(workload, recipe).curves[-1] for way, recipe in recipes.items()}
    last = next(iter(recipes.values())).stages[-1]
    lesson = lesson_for(workload, last, seed=0)  # type: ignore[arg-type]
    with torch.no_grad():
        dense = lesson.held_out(workload.model)
    columns: dict[str, list[Any]] = {"series": [], "x": [], "value": []}
    steps = sorted({record.step for curve in found.values() for record in curve})
    lines = {"dense": [(step, dense) for step in (steps[0], steps[-1])]}
    lines |= {way: [(record.step, record.figures["held_out"]) for record in curve] for way, curve in found.items()}
    for way, points in lines.items():
        columns["series"] += [way] * len(points)
        columns["x"] += [step for step, _ in points]
        columns["value"] += rounded([value for _, value in points])
    best = {way: min(value for _, value in points) for way, points in lines.items() if way != "dense"}
    told = ", ".join(f"{value:.4g} ({way})" for way, value in best.items())
    seconds = sum(curve[-1].seconds for curve in found.values()) / len(found)
    return Picture(
        view="lines",
        title=title,
        x_title="step",
        y_title=unit,
        caption=f"Lower is better; the best state is kept: {told}; dense {dense:.4g}. {seconds:.0f} CPU-seconds each.",
        conditions=f"{name}, {next(iter(recipes.values())).title()}, seed 0",
        columns=columns,
    )
