"""One measurement as a job: what "Measure it" starts."""

from collections.abc import Generator, Mapping
from typing import Any

from gencomp_core.analysis.measurement import make_request
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Progress
from gencomp_core.runtimes.registry import check_runtime
from gencomp_core.services.measuring import measuring, unjudged, untimed
from gencomp_core.store import Store
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload


def evaluate(store: Store, parameters: Mapping[str, Any]) -> Generator[Progress, None, dict[str, Any]]:
    """Measure a configuration and keep it; returns its signature. `gencomp evaluate` does the same for a workload.

    Args:
        parameters: `workload`, and optionally `recipe`, `samples`, `seed`, `set`, `extractor`, `runtime`, `batch`,
            `runtime_quality`.
    """
    yield Progress("loading", 0, 1)
    measurement = yield from measuring(
        load_workload(parameters["workload"]),
        Recipe.from_dict(parameters.get("recipe") or {"stages": []}),
        store=store,
        n_samples=parameters.get("samples"),
        seed=parameters.get("seed") or 0,
        settings=parameters.get("set"),
        extractor=parameters.get("extractor"),
        runtimes=parameters.get("runtime") or ("eager",),
        batches=parameters.get("batch") or (1,),
        runtime_quality=parameters.get("runtime_quality") is not False,
    )
    return {"signature": measurement.signature, "workload": measurement.workload, "status": measurement.status}


def measures_anew(store: Store, workload: Workload, recipe: Recipe, parameters: Mapping[str, Any]) -> bool:
    """Whether anything would have to be measured; what the store has already needs no job.

    Raises:
        EvaluationError: what no measurement could be made with.
    """
    names = parameters.get("runtime") or ("eager",)
    for name in names:
        check_runtime(name, workload)
    request = make_request(
        workload, recipe, n_samples=parameters.get("samples"), seed=parameters.get("seed") or 0,
        settings=parameters.get("set"), extractor=parameters.get("extractor"),
    )  # fmt: skip
    known = store.measurement(request.signature)
    judged = parameters.get("runtime_quality", True) is False or not unjudged(known, names)
    return known is None or bool(untimed(known, names, parameters.get("batch") or (1,))) or not judged
