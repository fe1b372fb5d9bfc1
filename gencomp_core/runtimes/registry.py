"""The runtimes that users pick from."""

from gencomp_core.registry import Registry
from gencomp_core.runtimes.eager import open_eager
from gencomp_core.runtimes.openvino import open_openvino
from gencomp_core.runtimes.subject import Runtime

SIMULATING = "eager"
"""Where measurements take their samples: integers are widened to floats, and every recipe runs."""

SHIPPED = ("openvino",)
"""Whose files an artifact holds unless others are asked for, where they can take the model."""

runtimes: Registry[Runtime] = Registry("runtime")
runtimes.add("eager")(open_eager)
runtimes.add("openvino")(open_openvino)
