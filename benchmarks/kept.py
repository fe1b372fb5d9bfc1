"""Results of a long benchmark, one file each, so that it goes on where it stopped."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

Result = dict[str, Any]


def kept(folder: Path | None, key: str, make: Callable[[], Result]) -> Result:
    """A result: read where it was made before, else made and written. Without a folder nothing is kept.

    Args:
        key: names the result with everything that it depends on; a file name without its ending.
        make: gives plain JSON values.
    """
    path = folder / f"{key}.json" if folder else None
    if path and path.exists():
        found: Result = json.loads(path.read_text())
        return found
    result = make()
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        partial.write_text(json.dumps(result))
        partial.replace(path)
    return result
