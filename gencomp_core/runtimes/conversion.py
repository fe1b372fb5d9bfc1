"""A model as exported programs in a folder, which an engine's converter makes its own files of."""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gencomp_core.errors import EvaluationError
from gencomp_core.runtime_env import home
from gencomp_core.runtimes.openvino_process import teach_export_shapes
from gencomp_core.runtimes.own_process import FACTS_FILE
from gencomp_core.runtimes.subject import Subject
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.programs import Program, programs_of


def folder_of(engine: str, subject: Subject, *versions: str) -> Path:
    """Where the files of a model are kept: one folder for its weights and what converts it."""
    parts = (subject.workload.name, subject.key, torch.__version__, *versions)
    return home() / "runtimes" / engine / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def convert_into(folder: Path, workload: Workload, model: nn.Module, convert: Callable[[Path], None]) -> None:
    """Fill a folder with the files that a converter makes of a model's programs, all or none.

    Args:
        convert: is given a folder with each program as `NAME.pt2`, and `facts.json` that describes them in order.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        described = {}
        for name, program in programs_of(workload, model).items():
            graph = exported(program)
            torch.export.save(graph, partial / f"{name}.pt2")
            described[name] = {
                "inputs": described_inputs(program),
                "outputs": len(graph.graph_signature.user_outputs),
            }
        (partial / FACTS_FILE).write_text(json.dumps({"programs": described}))
        convert(partial)
        for name in described:
            (partial / f"{name}.pt2").unlink()
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def add_facts(folder: Path, **more: Any) -> None:
    """Put more of what is known first in a folder's facts."""
    facts = json.loads((folder / FACTS_FILE).read_text())
    (folder / FACTS_FILE).write_text(json.dumps({**more, **facts}, indent=1))


def stored_facts(folder: Path, files: Mapping[str, Path]) -> dict[str, Any]:
    """The facts of a converted model.

    Raises:
        EvaluationError: one of its files is missing.
    """
    if missing := [name for name, path in files.items() if not path.exists()]:
        raise EvaluationError(f"{folder} must hold {', '.join(files)}, got no {missing[0]}. Export the artifact again.")
    facts: dict[str, Any] = json.loads((folder / FACTS_FILE).read_text())
    return facts


def described_inputs(program: Program) -> list[dict[str, Any]]:
    """Inputs in their order, for those who run the files without this code."""
    return [
        {"name": spec.name, "dtype": str(spec.dtype).removeprefix("torch."), "shape": spec.shape}
        for spec in program.inputs
    ]


def exported(program: Program, inputs: Sequence[Tensor] | None = None) -> torch.export.ExportedProgram:
    """The program as torch.export shows it: for the sizes of the inputs, or for any without them.

    Raises:
        EvaluationError: the network's code can't be exported.
    """
    names = program.size_names if inputs is None else ()
    sizes = {name: torch.export.Dim(name, min=1, max=65_536) for name in names}
    shapes = tuple({i: sizes[size] for i, size in enumerate(spec.shape) if size in sizes} for spec in program.inputs)
    teach_export_shapes()
    try:
        with torch.no_grad():
            return torch.export.export(program.module, tuple(inputs or program.zeros()), dynamic_shapes=(shapes,))
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError, TypeError, ValueError) as error:
        raise EvaluationError(
            f"The network can't be exported as one graph ({str(error).splitlines()[0]}). Use --runtime eager."
        ) from None
