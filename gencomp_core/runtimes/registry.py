"""The runtimes that users pick from."""

from functools import partial

from gencomp_core.registry import Registry
from gencomp_core.runtimes.compiled import open_compiled
from gencomp_core.runtimes.eager import open_eager
from gencomp_core.runtimes.onnxruntime import open_onnxruntime
from gencomp_core.runtimes.openvino import open_openvino
from gencomp_core.runtimes.subject import Runtime
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.programs import programs_of

SIMULATING = "eager"
"""Where measurements take their samples: integers are widened to floats, and every recipe runs."""

SHIPPED = ("openvino",)
"""Whose files an artifact holds unless others are asked for, where they can take the model."""

runtimes: Registry[Runtime] = Registry("runtime")
runtimes.add("eager")(open_eager)
runtimes.add("compile")(open_compiled)
runtimes.add("openvino")(open_openvino)
runtimes.add("openvino-bf16")(partial(open_openvino, precision="bf16"))
runtimes.add("onnxruntime")(open_onnxruntime)

RUN_THE_NETWORK = frozenset({"eager"})
"""Runtimes that call the network's own code; the others execute programs of it."""


def check_runtime(name: str, workload: Workload) -> None:
    """Refuse what a runtime can't do, before anything is computed.

    Raises:
        UnknownNameError: no such runtime.
        EvaluationError: it executes programs, and the workload has none.
    """
    runtimes[name]
    if name not in RUN_THE_NETWORK:
        programs_of(workload, workload.model)
