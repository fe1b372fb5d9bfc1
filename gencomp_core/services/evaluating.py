"""One measurement as a job: what "Measure it" starts."""

from collections.abc import Generator, Mapping
from typing import Any

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Progress
from gencomp_core.services.measuring import measuring
from gencomp_core.store import Store
from gencomp_core.workloads import load_workload


def evaluate(store: Store, parameters: Mapping[str, Any]) -> Generator[Progress, None, dict[str, Any]]:
    """Measure a configuration and keep it; returns its signature.

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
        runtime_quality=parameters.get("runtime_quality", True),
    )
    return {"signature": measurement.signature, "workload": measurement.workload, "status": measurement.status}
