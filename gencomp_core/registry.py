"""Named choices: what users pick by name, with "did you mean" when they miss."""

from collections.abc import Callable, Iterator
from difflib import get_close_matches
from typing import Generic, TypeVar

from gencomp_core.errors import UnknownNameError

Entry = TypeVar("Entry")


def suggestion(name: str, available: list[str]) -> str:
    """Closest name as a question, or an empty string: ` Did you mean 'fid'?`."""
    close = get_close_matches(name, available, n=1, cutoff=0.5)
    return f" Did you mean {close[0]!r}?" if close else ""


class Registry(Generic[Entry]):
    """Entries by name, in the order in which they were added.

    Args:
        what: singular noun for messages, such as "metric".
    """

    def __init__(self, what: str) -> None:
        self.what = what
        self._entries: dict[str, Entry] = {}

    def add(self, name: str) -> Callable[[Entry], Entry]:
        """Decorator that files an entry under `name`."""

        def file_entry(entry: Entry) -> Entry:
            if name in self._entries:
                raise ValueError(f"{self.what} {name!r} is registered twice")
            self._entries[name] = entry
            return entry

        return file_entry

    def __getitem__(self, name: str) -> Entry:
        if name not in self._entries:
            names = list(self._entries)
            raise UnknownNameError(
                f"No {self.what} named {name!r}.{suggestion(name, names)} Available: {', '.join(names)}."
            )
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)
