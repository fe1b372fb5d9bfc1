"""Write `assets/SHA256SUMS` over every file in `assets/`, in the format of `sha256sum --check`."""

from gencomp_core.artifact.sums import file_sha256
from gencomp_core.runtime_env import ASSETS


def main() -> None:
    """Write the list, sorted by path."""
    files = sorted(path for path in ASSETS.rglob("*") if path.is_file() and path.name != "SHA256SUMS")
    lines = [f"{file_sha256(path)}  {path.relative_to(ASSETS)}" for path in files]
    (ASSETS / "SHA256SUMS").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
