"""What this machine takes for single layers: measured once, kept at home, and recorded ones to look at before."""

import hashlib
import json
from collections.abc import Generator
from pathlib import Path

from pydantic import ValidationError

from gencomp_core.analysis.break_even.table import KIND_NAMES, break_even_table, pays_from, verdicts
from gencomp_core.errors import EvaluationError
from gencomp_core.records import Progress
from gencomp_core.records.machines import MACHINE_VERSION, LayerTiming, MachineProfile
from gencomp_core.runtime_env import ASSETS, home, machine, threads, versions

__all__ = [
    "KIND_NAMES",
    "break_even_table",
    "is_of_this_machine",
    "keep",
    "measure_machine",
    "pays_from",
    "profile_of_this_machine",
    "recorded_profile",
    "verdicts",
]


def profile_of_this_machine() -> MachineProfile | None:
    """What was measured here with the present method; None before the first time."""
    path = _path()
    found = _read(path) if path.exists() else None
    return found if found is not None and found.version == MACHINE_VERSION else None


def recorded_profile() -> MachineProfile | None:
    """The profile of this machine, else one that was recorded elsewhere, to show what it looks like."""
    own = profile_of_this_machine()
    if own is not None:
        return own
    recorded = sorted((ASSETS / "machines").glob("*.json"))
    same = [path for path in recorded if path.name == _path().name]
    return _read((same or recorded)[0]) if recorded else None


def is_of_this_machine(profile: MachineProfile) -> bool:
    """Whether its timings were taken on this processor with the engines that are installed here."""
    return profile.machine["processor"] == machine()["processor"] and profile.versions == versions()


def measure_machine(*, again: bool = False) -> Generator[Progress, None, MachineProfile]:
    """Time every layer in every runtime on one thread, unless that was done; yields progress.

    What was timed is kept after every point, so that an interrupted run goes on where it stopped.
    """
    from gencomp_core.analysis.break_even.chains import POINTS
    from gencomp_core.analysis.break_even.timing import open_chains, time_calls, time_point

    known = None if again else profile_of_this_machine()
    if known is not None:
        return known
    partial = _path().with_suffix(".part")
    timings = [] if again else _partial(partial)
    done = {own.point for own in timings}
    with threads(1):
        opened = yield from open_chains()
        call_ms = time_calls(opened)
        partial.parent.mkdir(parents=True, exist_ok=True)
        for number, point in enumerate(POINTS):
            if point in done:
                continue
            yield Progress(f"timing {point.kind}, width {point.width}, batch {point.batch}", number, len(POINTS))
            timings += time_point(opened, point, call_ms)
            partial.write_text(json.dumps([own.model_dump(mode="json") for own in timings]))
    found = _profile(call_ms, timings)
    keep(found)
    partial.unlink(missing_ok=True)
    return found


def keep(profile: MachineProfile) -> None:
    """Put a profile of this machine at home, such as one with whole generations fitted."""
    _path().parent.mkdir(parents=True, exist_ok=True)
    _path().write_text(profile.model_dump_json(indent=1))


def _profile(call_ms: dict[str, float], timings: list[LayerTiming]) -> MachineProfile:
    from gencomp_core.analysis.measurement import now

    return MachineProfile(
        machine=machine(), versions=versions(), measured_at=now(), threads=1, call_ms=call_ms, timings=tuple(timings)
    )


def _path() -> Path:
    """One file for a processor and the engines that are installed."""
    text = json.dumps([machine()["processor"], versions()], sort_keys=True)
    return home() / "machines" / f"{hashlib.sha256(text.encode()).hexdigest()[:12]}.json"


def _read(path: Path) -> MachineProfile:
    try:
        return MachineProfile.model_validate_json(path.read_text())
    except (ValidationError, OSError):
        raise EvaluationError(
            f"{path} must hold the timings of a machine, and can't be read. Remove it and run 'gencomp machine'."
        ) from None


def _partial(path: Path) -> list[LayerTiming]:
    if not path.exists():
        return []
    try:
        return [LayerTiming.model_validate(own) for own in json.loads(path.read_text())]
    except (ValidationError, ValueError):
        return []
