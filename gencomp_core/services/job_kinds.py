"""What a job can carry out: a name, and the service behind it. No torch: a service is imported when it runs.

To add a kind: a service that takes a store and plain parameters, yields progress and returns plain JSON
values; a line below; and a command of the same name, whose options have the names of the parameters.
"""

import shlex
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml

from gencomp_core.records import Progress
from gencomp_core.registry import Registry
from gencomp_core.store import Store

Service = Callable[[Store, Mapping[str, Any]], Generator[Progress, None, dict[str, Any]]]
DOCUMENTS = ("recipe", "grid", "config")
"""Parameters that are files on a command line."""
ON_BY_ITSELF = ("runtime_quality",)
"""Switches that a command line has to turn off."""


@dataclass(frozen=True)
class JobKind:
    """Something that a job can carry out.

    Attributes:
        title: for people.
        place: `module:function` of the service.
        report_place: `module:function` that makes the whole report from the store and what the service
            returned; without it, what it returned is the report.
    """

    title: str
    place: str
    report_place: str | None = None

    def service(self) -> Service:
        """The service, imported now."""
        found: Service = _imported(self.place)
        return found

    def report(self, store: Store, result: dict[str, Any]) -> dict[str, Any]:
        """What the command prints as JSON."""
        made: dict[str, Any] = _imported(self.report_place)(store, result) if self.report_place else result
        return made


KINDS: Registry[JobKind] = Registry("job kind")
KINDS.add("evaluate")(JobKind("Measurement", "gencomp_core.services.evaluating:evaluate"))
KINDS.add("optimize")(JobKind("Guided workflow", "gencomp_core.services.optimizing:optimize"))
KINDS.add("recover")(JobKind("Recovery study", "gencomp_core.services.recovering:recover"))
KINDS.add("scan")(JobKind("Sensitivity scan", "gencomp_core.services.scanning:scan_job"))
KINDS.add("plan")(JobKind("Plan", "gencomp_core.services.planning:plan_job"))
KINDS.add("sweep")(JobKind("Sweep", "gencomp_core.services.sweeping:sweep", "gencomp_core.services.sweeps:report"))
KINDS.add("search")(JobKind("Search", "gencomp_core.services.searching:search"))


def command_line(kind: str, parameters: Mapping[str, Any], folder: Path | None = None) -> str:
    """The command that does the same; documents lie in `folder`, see `write_documents`."""
    words = ["python", "-m", "gencomp_core", kind, str(parameters["workload"])]
    for name, value in parameters.items():
        if name != "workload":
            words += _words(name, value, folder)
    return shlex.join(words)


def write_documents(parameters: Mapping[str, Any], folder: Path) -> None:
    """Write the files that the command line names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in DOCUMENTS:
        if isinstance(parameters.get(name), Mapping):
            (folder / f"{name}.yaml").write_text(yaml.safe_dump(parameters[name], sort_keys=False))


def _imported(place: str) -> Any:
    module, _, function = place.partition(":")
    return getattr(import_module(module), function)


def _words(name: str, value: Any, folder: Path | None) -> list[str]:
    option = f"--{name.replace('_', '-')}"
    if value is False and name in ON_BY_ITSELF:
        return [f"--no-{option[2:]}"]
    if value is None or value is False:
        return []
    if value is True:
        return [option]
    if isinstance(value, Mapping):
        if name in DOCUMENTS:
            return [option, str((folder or Path()) / f"{name}.yaml")]
        return [word for key, one in value.items() for word in (option, f"{key}={one}")]
    values = value if isinstance(value, list | tuple) else [value]
    return [word for one in values for word in (option, str(one))]
