"""ONNX Runtime on the CPU: our own scales as products of integers, one session for each size.

Engine and exporter are optional: they are imported where they are used.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from torch import Tensor, nn

from gencomp_core.errors import EvaluationError, MissingDependencyError
from gencomp_core.runtimes.conversion import add_facts, convert_into, folder_of, stored_facts
from gencomp_core.runtimes.integer_rewriting import with_integer_layers
from gencomp_core.runtimes.onnx_translation import WEIGHTS_FILE
from gencomp_core.runtimes.own_process import FACTS_FILE, in_own_process
from gencomp_core.runtimes.subject import Opened, Subject
from gencomp_core.workloads.programs import Program, programs_of, stand_in_of

EXPORT_VERSION = "1"
"""Raise when the same model is converted in another way."""
PACKAGES = ("onnxruntime", "onnx", "onnxscript")
PRODUCT = "MatMulIntegerToFloat"


def open_onnxruntime(subject: Subject, *, stored: Path | None = None) -> Opened:
    """The model in ONNX Runtime, converted once for its weights.

    Raises:
        EvaluationError: a workload without programs, or a model that can't be converted.
        MissingDependencyError: one of the packages is not installed; stored files need the first only.
    """
    installed = [_version(package) for package in (PACKAGES[:1] if stored else PACKAGES)]
    programs = programs_of(subject.workload, subject.model)
    folder = stored or folder_of("onnxruntime", subject, EXPORT_VERSION, *installed)
    if not stored:
        with FileLock(f"{folder}.lock"):
            if not (folder / FACTS_FILE).exists():
                _convert(subject, folder)
    names = [*(f"{name}.onnx" for name in programs), WEIGHTS_FILE, FACTS_FILE]
    files = {name: folder / name for name in names}
    facts = stored_facts(folder, files)
    calls = {name: SessionCall(program, files[f"{name}.onnx"]) for name, program in programs.items()}
    return Opened(stand_in_of(subject.workload, subject.model, calls), facts["ran"], files)


class SessionCall:
    """Calls a program, in a session for each size that comes, with the threads that torch uses then.

    Args:
        program: whose inputs it takes.
        path: of the ONNX file.
    """

    def __init__(self, program: Program, path: Path) -> None:
        self.program, self.path = program, path
        self.sessions: dict[tuple[int, ...], Any] = {}

    def __call__(self, *inputs: Tensor) -> list[Tensor]:
        """The program's outputs, on the CPU."""
        sizes = self.program.sizes_of(inputs)
        key = (torch.get_num_threads(), *sizes.values())
        if key not in self.sessions:
            self.sessions[key] = self._session(sizes)
        given = {
            spec.name: x.detach().to("cpu", spec.dtype).contiguous().numpy()
            for x, spec in zip(inputs, self.program.inputs, strict=True)
        }
        return [torch.from_numpy(array) for array in self.sessions[key].run(None, given)]

    def _session(self, sizes: Mapping[str, int]) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        for name, size in sizes.items():
            options.add_free_dimension_override_by_name(name, size)
        # Products of bytes overflow 16 bits on processors without VNNI, unless weights are made unsigned.
        options.add_session_config_entry("session.x64quantprecision", "1")
        try:
            return onnxruntime.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # noqa: BLE001  its exceptions have no base of their own
            reason = str(error).splitlines()[0]
            raise EvaluationError(
                f"ONNX Runtime could not load {self.path.name} ({reason}). Use --runtime eager."
            ) from None


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        raise MissingDependencyError(
            f"The runtime onnxruntime needs packages: pip install {' '.join(PACKAGES)}."
        ) from None


def _convert(subject: Subject, folder: Path) -> None:
    model, ways = with_integer_layers(subject.model, subject.quantized)
    called = _called(programs_of(subject.workload, model), model)

    def convert(partial: Path) -> None:
        in_own_process("onnxscript", "gencomp_core.runtimes.onnx_translation", "convert", str(partial))
        operators = stored_facts(partial, {})["operators"]
        used = [way for name, way in ways.items() if name in called]
        add_facts(partial, ran=ran_as(used, operators.get(PRODUCT, 0)))

    convert_into(folder, subject.workload, model, convert)


def _called(programs: Mapping[str, Program], model: nn.Module) -> set[str]:
    """Modules that the programs call: a generator has no use for a VAE's encoder."""
    called: set[str] = set()
    hooks = [
        module.register_forward_hook(lambda *_, name=name: called.add(name)) for name, module in model.named_modules()
    ]
    try:
        with torch.no_grad():
            for program in programs.values():
                program.module(*program.zeros())
    finally:
        for hook in hooks:
            hook.remove()
    return called


def ran_as(ways: Sequence[str], n_products: int) -> str:
    """What runs, in a few words.

    Args:
        ways: in which way each layer runs (`with_integer_layers`).
        n_products: of integers, in the graphs.
    """
    counts = sorted(Counter(ways).items(), key=lambda pair: pair[0].startswith("float"))
    words = ", ".join(f"{way} × {n}" for way, n in counts)
    if n_products < sum(way.startswith("int8") for way in ways):
        words += f"; the graphs hold {n_products} products of integers"
    return words
