"""The checksums that guard every file of an artifact, in its folder and below."""

import hashlib
from pathlib import Path

from gencomp_core.errors import ArtifactError

SUMS_FILE = "SHA256SUMS"


def write_sums(folder: Path) -> None:
    """Write SHA256SUMS over all other files, in the format of `sha256sum --check`."""
    lines = [f"{file_sha256(path)}  {name}" for name, path in _content(folder).items() if path.is_file()]
    (folder / SUMS_FILE).write_text("\n".join(lines) + "\n")


def changed_files(folder: Path) -> list[str]:
    """Paths of files that are missing, changed or not listed in SHA256SUMS; empty when all is well.

    Raises:
        ArtifactError: no artifact folder, or its SHA256SUMS can't be read.
    """
    path = folder / SUMS_FILE
    if not path.exists():
        raise ArtifactError(f"{folder} is no complete artifact: it has no {SUMS_FILE}. Export it again.")
    listed = {}
    for line in path.read_text(errors="replace").removesuffix("\n").split("\n"):
        digest, separator, name = line.partition("  ")
        if not separator:
            return [SUMS_FILE]
        listed[name] = digest
    present = _content(folder)
    wrong = [name for name, digest in listed.items() if name not in present or _digest(present[name]) != digest]
    # A folder is there for the files that are listed in it.
    needed = {parent.as_posix() for name in listed for parent in Path(name).parents}
    unlisted = {name: entry for name, entry in present.items() if name not in listed}
    return wrong + [name for name, entry in unlisted.items() if not (name in needed and _is_folder(entry))]


def folder_bytes(folder: Path) -> int:
    """Length of all files in a folder and below."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _content(folder: Path) -> dict[str, Path]:
    """All entries but the checksums themselves, by path from the folder."""
    entries = sorted(folder.rglob("*"))
    return {path.relative_to(folder).as_posix(): path for path in entries if path != folder / SUMS_FILE}


def _is_folder(entry: Path) -> bool:
    return entry.is_dir() and not entry.is_symlink()


def _digest(path: Path) -> str:
    return file_sha256(path) if path.is_file() else "no file"
