"""GenComp: how small and how fast can a generative model become before its output gets worse?

The names below are the Python API. They are loaded on first use, so that importing the package
(which every page does) does not import torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gencomp_core.analysis.sensitivity.scan import scan_sensitivity
    from gencomp_core.artifact.load import load_artifact
    from gencomp_core.artifact.save import save_artifact
    from gencomp_core.recipes.recipe import Recipe
    from gencomp_core.services.measuring import measure
    from gencomp_core.services.planning import plan
    from gencomp_core.variant import compress
    from gencomp_core.workloads import load_workload

__version__ = "0.1.0"

_HOME = {
    "load_artifact": "gencomp_core.artifact.load",
    "save_artifact": "gencomp_core.artifact.save",
    "Recipe": "gencomp_core.recipes.recipe",
    "measure": "gencomp_core.services.measuring",
    "plan": "gencomp_core.services.planning",
    "compress": "gencomp_core.variant",
    "load_workload": "gencomp_core.workloads",
    "scan_sensitivity": "gencomp_core.analysis.sensitivity.scan",
}

__all__ = [
    "Recipe",
    "__version__",
    "compress",
    "load_artifact",
    "load_workload",
    "measure",
    "plan",
    "save_artifact",
    "scan_sensitivity",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'gencomp_core' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
