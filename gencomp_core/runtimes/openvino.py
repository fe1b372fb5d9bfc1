"""OpenVINO on the CPU: our own scales as real integers, static shapes, one compiled graph for each size.

What was measured: a graph with dynamic shapes runs at half the speed, and group norm in its usual form made the
compiler of 2026.4 crash at static shapes (`docs/decisions/0017-openvino.md`). So conversion, and the first run at every
shape, happen in a process of their own.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from filelock import FileLock

from gencomp_core.errors import MissingDependencyError
from gencomp_core.runtimes.conversion import add_facts, convert_into, folder_of, stored_facts
from gencomp_core.runtimes.openvino_calls import CompiledCall, Part
from gencomp_core.runtimes.openvino_process import MODEL_FILE, WEIGHTS_FILE, convert_programs
from gencomp_core.runtimes.own_process import FACTS_FILE
from gencomp_core.runtimes.rewriting import rewritten
from gencomp_core.runtimes.subject import Opened, Subject
from gencomp_core.workloads.programs import Program, programs_of, stand_in_of

EXPORT_VERSION = "4"
"""Raise when the same model is converted in another way."""
WEIGHTS_ALONE = re.compile(r"int(\d) weights.*")
INTEGER_INPUTS = re.compile(r"int8(?! weights)")


def open_openvino(subject: Subject, *, stored: Path | None = None, precision: str = "f32") -> Opened:
    """The model in OpenVINO, converted once for its weights.

    Args:
        precision: "f32" or "bf16", for what is no integer.

    Raises:
        EvaluationError: a workload without programs, or a model that can't be converted.
        MissingDependencyError: OpenVINO is not installed.
    """
    try:
        installed = version("openvino")
    except PackageNotFoundError:
        raise MissingDependencyError("The runtime openvino needs a package: pip install openvino.") from None
    programs = programs_of(subject.workload, subject.model)
    folder = stored or _folder(subject, installed)
    if not stored:
        with FileLock(f"{folder}.lock"):
            if not (folder / FACTS_FILE).exists():
                _convert(subject, folder)
    files = {name: folder / name for name in (MODEL_FILE, WEIGHTS_FILE, FACTS_FILE)}
    facts = stored_facts(folder, files)
    calls = {part.name: CompiledCall(part, precision) for part in _parts(programs, files[MODEL_FILE], facts)}
    network = stand_in_of(subject.workload, subject.model, calls)
    return Opened(network, facts["ran"] + _floats_of(precision), files)


def _parts(programs: Mapping[str, Program], path: Path, facts: Mapping[str, Any]) -> Iterator[Part]:
    """Where the file has each program: they follow each other, in the order of the facts."""
    first_input = first_output = 0
    for name, described in facts["programs"].items():
        last_input, last_output = first_input + len(described["inputs"]), first_output + described["outputs"]
        yield Part(name, programs[name], path, (first_input, last_input), (first_output, last_output))
        first_input, first_output = last_input, last_output


def _floats_of(precision: str) -> str:
    """What becomes of numbers that are no integers, where it isn't float32."""
    if precision == "f32":
        return ""
    import openvino

    if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        return "; floats in bfloat16"
    return "; floats in float32, because this processor has no bfloat16"


def _folder(subject: Subject, installed: str) -> Path:
    return folder_of("openvino", subject, EXPORT_VERSION, installed)


def _convert(subject: Subject, folder: Path) -> None:
    """Write the model's files, all or none."""
    model, ways = rewritten(subject.model, subject.quantized)

    def convert(partial: Path) -> None:
        convert_programs(partial)
        stored = json.loads((partial / FACTS_FILE).read_text())["stored"]
        add_facts(partial, ran=ran_as(ways, stored))

    convert_into(folder, subject.workload, model, convert)


def ran_as(ways: Mapping[str, int], stored: Mapping[str, int]) -> str:
    """What runs, in a few words.

    OpenVINO 2026.4 multiplies by integer weights alone only in graphs where no layer has integer inputs; in others it
    widens such weights when it compiles.

    Args:
        ways: number of layers that run in each way (`rewritten`).
        stored: bytes in the weights file, by type.
    """
    if any(INTEGER_INPUTS.match(way) for way in ways):
        ways = _together((WEIGHTS_ALONE.sub(r"float (weights stored in \1 bits)", way), n) for way, n in ways.items())
    words = ", ".join(f"{way} × {n}" for way, n in sorted(ways.items(), key=lambda pair: pair[0] == "float"))
    if ("int4 weights" in words or "in 4 bits" in words) and not {"i4", "u4"} & stored.keys():
        words += "; the file holds no 4-bit weights"
    if any(WEIGHTS_ALONE.match(way) for way in ways):
        words += "; what integer weights meet is rounded to 8 bits at run time"
    return words


def _together(ways: Iterable[tuple[str, int]]) -> Counter[str]:
    total = Counter[str]()
    for way, n in ways:
        total[way] += n
    return total
