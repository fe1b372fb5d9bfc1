"""Checksums of what ships in `assets/`: a damaged file is named before it is believed."""

import hashlib
from functools import cache
from pathlib import Path

from gencomp_core.errors import DataError
from gencomp_core.runtime_env import ASSETS

SUMS_FILE = ASSETS / "SHA256SUMS"


def check_asset(path: Path) -> None:
    """Compare a shipped file with its checksum; files that are not listed are not checked.

    Raises:
        DataError: the file is not the one that shipped.
    """
    expected = _listed().get(path.resolve())
    if expected is None or not path.exists():
        return
    if hashlib.sha256(path.read_bytes()).hexdigest() != expected:
        raise DataError(
            f"{path} is damaged or was replaced: its checksum is not the one in {SUMS_FILE.name}. Restore it from the "
            "repository, or run 'python -m tools.make_checksums' if the change is meant."
        )


@cache
def _listed() -> dict[Path, str]:
    if not SUMS_FILE.exists():
        return {}
    pairs = (line.split("  ", 1) for line in SUMS_FILE.read_text().splitlines())
    return {(ASSETS / name).resolve(): digest for digest, name in pairs}
