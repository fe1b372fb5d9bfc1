"""A recovery study as a job: what a recipe loses, and how much its training brings back."""

import gzip
import json
from collections.abc import Generator, Mapping
from typing import Any

import torch

from gencomp_core.analysis.recovery_curves import check_trains, damage_of, damaged_by, points_of, rung_of
from gencomp_core.charts.tiles import tile, to_webp
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.recovery import TuningStage
from gencomp_core.records import Estimate, Measurement, Progress, Quality
from gencomp_core.records.recovery import RecoveryRun
from gencomp_core.recovery.kept import Folder
from gencomp_core.recovery.lessons import lesson_for
from gencomp_core.runtime_env import machine
from gencomp_core.services import library
from gencomp_core.services.measuring import measuring
from gencomp_core.services.recoveries import ALONG, ALONG_TEXTS
from gencomp_core.store import Store
from gencomp_core.variant import compress, compression_steps
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload, makes_texts

SCALE = 2


def recover(store: Store, parameters: Mapping[str, Any]) -> Generator[Progress, None, dict[str, Any]]:
    """Measure a recipe with training beside the same one without, and keep the curves of its training.

    Args:
        parameters: `workload`, `recipe` with a stage that trains; optionally `samples` and `seed`.

    Returns:
        A `RecoveryRun` as plain values.

    Raises:
        RecipeError: nothing is trained.
    """
    yield Progress("loading", 0, 1)
    workload = load_workload(parameters["workload"])
    recipe, seed = Recipe.from_dict(parameters["recipe"]), int(parameters.get("seed") or 0)
    check_trains(recipe)
    n = parameters.get("samples") or _usual(store, workload)
    damage = damage_of(recipe)
    variant = yield from compression_steps(workload, recipe, seed=seed)
    damaged = yield from measuring(workload, damage, store=store, n_samples=n, seed=seed, runtimes=())
    found = yield from measuring(workload, recipe, store=store, n_samples=n, seed=seed, runtimes=())
    dense_figure, damaged_figure = yield from _held_out(workload, recipe, damage, seed)
    run = RecoveryRun(
        workload=workload.name,
        weights_hash=workload.weights_hash,
        title=recipe.title(),
        recipe=recipe.to_dict(),
        seed=seed,
        damage_title=damage.title(),
        damage=damage.to_dict(),
        damaged_by=damaged_by(damage),
        rung=rung_of(recipe),
        points=points_of(variant.curves),
        dense_held_out=dense_figure,
        damaged_held_out=damaged_figure,
        machine=str(machine()["processor"]),
        damaged=None if damage.is_dense else damaged.quality_change,
        **_judged(found),
    )
    kind, content = along_the_way(workload, variant.tunings)
    store.save_picture(found.signature, kind, content)
    return run.model_dump(mode="json")


def along_the_way(workload: Workload, tunings: tuple[str, ...]) -> tuple[str, bytes]:
    """Kind and content of the samples that the last training kept: a sheet with a row a look, or texts."""
    samples = Folder.of(tunings[-1]).samples()
    if makes_texts(workload):
        n = min(map(len, samples.values()), default=0)
        told = {
            "steps": list(samples), "texts": list(samples.values()), "sources": list(workload.prompts(0, n)),
            "references": list(workload.references(0, n)),
        }  # fmt: skip
        return ALONG_TEXTS, gzip.compress(json.dumps(told, ensure_ascii=False).encode(), mtime=0)
    rows = [own for own in samples.values() if isinstance(own, torch.Tensor)]
    sheet = tile(torch.cat(rows).numpy(), columns=len(rows[0]), gap=2)
    return ALONG, to_webp(sheet, scale=SCALE)


@torch.no_grad()
def _held_out(
    workload: Workload, recipe: Recipe, damage: Recipe, seed: int
) -> Generator[Progress, None, tuple[float, float]]:
    """The held-out figure of the last training: of the dense and of the damaged model."""
    last = [stage for stage in recipe.stages if isinstance(stage, TuningStage)][-1]
    lesson = lesson_for(workload, last, seed=seed)
    yield Progress("held-out data of the dense model", 0, 2)
    dense = lesson.held_out(workload.model)
    yield Progress("held-out data before training", 1, 2)
    return dense, lesson.held_out(compress(workload, damage, seed=seed).model)


def _judged(found: Measurement) -> dict[str, Any]:
    """Fields of a run that its measurement tells.

    Raises:
        RecipeError: the tuned model could not be judged.
    """
    own, change, dense = found.quality, found.quality_change, found.dense_quality
    if own is None or change is None or dense is None:
        raise RecipeError(f"{found.title} could not be judged: {found.reason}. Compress less before it is trained.")
    return {
        "metric": own.metric,
        "dense_value": dense.value,
        "n_samples": found.request.n_samples,
        "recovered": change,
        "quality": _estimate(own),
        "size_bytes": found.size_bytes,
        "dense_size_bytes": found.dense_size_bytes,
        "signature": found.signature,
    }


def _estimate(quality: Quality) -> Estimate:
    return Estimate(value=quality.value, low=quality.low, high=quality.high)


def _usual(store: Store, workload: Workload) -> int:
    n = library.usual_samples(library.figures(store, workload.name), workload.name)
    return min(n, workload.n_prompts) if makes_texts(workload) else n
