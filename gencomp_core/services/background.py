"""Work that fills in behind a page: one thread, newest wishes first served, outdated ones dropped."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

MAX_OWNERS = 256
MAX_RESULTS = 128

Key = Hashable
Work = Callable[[], Any]


class Background:
    """Results by key, computed one after the other by a thread of this process.

    Every visitor (owner) has one current wish: a set of keys. What nobody wishes any more and has not
    begun is dropped, so that ten moves of a slider cost one computation, not ten.
    """

    def __init__(self) -> None:
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="gencomp-behind")
        self._lock = threading.Lock()
        self._futures: OrderedDict[Key, Future[Any]] = OrderedDict()
        self._wishes: OrderedDict[str, frozenset[Key]] = OrderedDict()

    def want(self, owner: str, works: Mapping[Key, Work]) -> dict[Key, "Future[Any]"]:
        """Make `works` the owner's wish, in place of the one before.

        Returns:
            A future for each key; the same one for whoever wishes the same.
        """
        with self._lock:
            self._wishes[owner] = frozenset(works)
            self._wishes.move_to_end(owner)
            while len(self._wishes) > MAX_OWNERS:
                self._wishes.popitem(last=False)
            self._drop_outdated()
            for key, work in works.items():
                if key not in self._futures:
                    self._futures[key] = self._executor.submit(work)
                self._futures.move_to_end(key)
            return {key: self._futures[key] for key in works}

    def _drop_outdated(self) -> None:
        wished = frozenset().union(*self._wishes.values())
        for key in [key for key in self._futures if key not in wished]:
            if self._futures[key].cancel():
                del self._futures[key]
        finished = [key for key, future in self._futures.items() if future.done() and key not in wished]
        for key in finished[: max(0, len(self._futures) - MAX_RESULTS)]:
            del self._futures[key]
