"""OpenVINO on the CPU: our own scales as real integers, static shapes, one compiled model a batch size.

What was measured: a graph with dynamic shapes runs at half the speed, and group norm in its usual form made the
compiler of 2026.4 crash at static shapes (`docs/decisions/0017-openvino.md`). So conversion, and the first run at every
shape, happen in a process of their own.
"""

import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor

from gencomp_core.errors import EvaluationError, MissingDependencyError
from gencomp_core.runtime_env import command_environment, home
from gencomp_core.runtimes.openvino_process import compiled, teach_export_shapes
from gencomp_core.runtimes.rewriting import rewritten
from gencomp_core.runtimes.subject import Opened, Subject
from gencomp_core.workloads.base import makes_texts
from gencomp_core.workloads.programs import BATCH, Program, StandIn, entry_of, program_of

EXPORT_VERSION = "1"
"""Raise when the same model is converted in another way."""
MODEL_FILE, FACTS_FILE = "model.xml", "facts.json"
_EXPORTED_WITH = 3  # samples; 1 would be taken for a size that never changes


def open_openvino(subject: Subject, *, stored: Path | None = None) -> Opened:
    """The model in OpenVINO, converted once for its weights.

    Raises:
        EvaluationError: a text model, or one that can't be converted.
        MissingDependencyError: OpenVINO is not installed.
    """
    if makes_texts(subject.workload):
        raise EvaluationError(
            f"openvino runs image generators, got {subject.workload.name}, which makes texts. Use --runtime eager."
        )
    try:
        installed = version("openvino")
    except PackageNotFoundError:
        raise MissingDependencyError("The runtime openvino needs a package: pip install openvino.") from None
    program = program_of(subject.workload, subject.model)
    folder = stored or _folder(subject, installed)
    if not stored:
        with FileLock(f"{folder}.lock"):
            if not (folder / FACTS_FILE).exists():
                _convert(subject, folder)
    facts: dict[str, Any] = json.loads((folder / FACTS_FILE).read_text())
    call = CompiledCall(program, folder / MODEL_FILE)
    network = StandIn(subject.model, entry_of(subject.workload), call)
    files = {name: folder / name for name in (MODEL_FILE, Path(MODEL_FILE).with_suffix(".bin").name, FACTS_FILE)}
    return Opened(network, str(facts["ran"]), files)


class CompiledCall:
    """Calls a converted program, compiled for each batch size when it first comes.

    Args:
        program: whose inputs it takes.
        path: of the model's XML file.
    """

    def __init__(self, program: Program, path: Path) -> None:
        self.program, self.path = program, path
        self.requests: dict[int, Any] = {}

    def __call__(self, *inputs: Tensor) -> Tensor:
        """The program's output, a copy where the inputs are: (n, ...) float32."""
        batch = self._batch(inputs)
        if batch not in self.requests:
            self.requests[batch] = self._compile(batch)
        request = self.requests[batch]
        arrays = [
            x.detach().to("cpu", spec.dtype).contiguous().numpy()
            for x, spec in zip(inputs, self.program.inputs, strict=True)
        ]
        request.infer(arrays, share_inputs=True)
        return torch.from_numpy(request.get_output_tensor(0).data.copy()).to(inputs[0].device)

    def _batch(self, inputs: tuple[Tensor, ...]) -> int:
        for x, spec in zip(inputs, self.program.inputs, strict=True):
            if BATCH in spec.shape:
                return x.shape[spec.shape.index(BATCH)]
        return 1

    def _compile(self, batch: int) -> Any:
        shapes = [list(spec.sized(batch)) for spec in self.program.inputs]
        tried = self._marker(batch)
        if not tried.exists():  # the compiler may end its process
            _in_own_process(["try", str(self.path), json.dumps(shapes), str(torch.get_num_threads())])
            tried.parent.mkdir(parents=True, exist_ok=True)
            tried.touch()
        return compiled(self.path, shapes, torch.get_num_threads()).create_infer_request()

    def _marker(self, batch: int) -> Path:
        """File that says that this graph was compiled once; never beside files that ship, which stay as they are."""
        digest = hashlib.sha256(self.path.read_bytes()).hexdigest()[:16]
        return home() / "runtimes" / "openvino" / "tried" / f"{digest}-{batch}-{torch.get_num_threads()}"


def _folder(subject: Subject, installed: str) -> Path:
    parts = (EXPORT_VERSION, subject.workload.name, subject.key, installed, torch.__version__)
    return home() / "runtimes" / "openvino" / hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _convert(subject: Subject, folder: Path) -> None:
    """Write the model's files, all or none."""
    model, ways = rewritten(subject.model, subject.quantized)
    content = exported(program_of(subject.workload, model))
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        _in_own_process(["convert", str(partial / MODEL_FILE)], content)
        ran = ", ".join(f"{way} × {n}" for way, n in sorted(ways.items(), key=lambda pair: pair[0] == "float"))
        (partial / FACTS_FILE).write_text(json.dumps({"ran": ran}))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def exported(program: Program) -> bytes:
    """The program as torch.export writes it, for any number of samples.

    Raises:
        EvaluationError: the network's code can't be exported.
    """
    batch = torch.export.Dim(BATCH, min=1, max=65_536)
    shapes = tuple({i: batch for i, size in enumerate(spec.shape) if size == BATCH} for spec in program.inputs)
    teach_export_shapes()
    try:
        with torch.no_grad():
            graph = torch.export.export(program.module, program.zeros(_EXPORTED_WITH), dynamic_shapes=(shapes,))
    except (torch._dynamo.exc.TorchDynamoException, RuntimeError, TypeError, ValueError) as error:
        raise EvaluationError(
            f"The network can't be exported as one graph ({str(error).splitlines()[0]}). Use --runtime eager."
        ) from None
    stream = io.BytesIO()
    torch.export.save(graph, stream)
    return stream.getvalue()


def _in_own_process(arguments: list[str], content: bytes | None = None) -> None:
    command = [sys.executable, "-m", "gencomp_core.runtimes.openvino_process", *arguments]
    done = subprocess.run(command, input=content, capture_output=True, check=False, env=command_environment())
    if done.returncode:
        lines = done.stderr.decode(errors="replace").strip().splitlines()
        reason = f"signal {-done.returncode}" if done.returncode < 0 else (lines or ["no reason given"])[-1]
        raise EvaluationError(f"OpenVINO could not {arguments[0]} the model ({reason}). Use --runtime eager.")
