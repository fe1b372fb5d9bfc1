"""Work behind a page: one result for all who wish it, nothing for wishes that were given up."""

import threading

from gencomp_core.services.background import Background


def test_the_same_wish_is_one_computation() -> None:
    background, calls = Background(), []
    first = background.want("ann", {"a": lambda: calls.append("a") or 1})
    second = background.want("bob", {"a": lambda: calls.append("again") or 2})
    assert first["a"].result(10) == second["a"].result(10) == 1
    assert calls == ["a"]


def test_what_was_given_up_before_it_began_is_never_computed() -> None:
    background, calls, gate = Background(), [], threading.Event()
    running = background.want("ann", {"slow": gate.wait})["slow"]
    for name in ("b", "c", "d"):
        last = background.want("ann", {name: lambda name=name: calls.append(name)})[name]
    gate.set()
    running.result(10)
    last.result(10)
    assert calls == ["d"]


def test_a_wish_of_somebody_else_is_not_given_up() -> None:
    background, calls, gate = Background(), [], threading.Event()
    background.want("ann", {"slow": gate.wait})
    kept = background.want("bob", {"kept": lambda: calls.append("kept")})["kept"]
    background.want("ann", {"other": lambda: calls.append("other")})
    gate.set()
    kept.result(10)
    assert calls[0] == "kept"


def test_a_failure_belongs_to_its_own_future() -> None:
    background = Background()
    futures = background.want("ann", {"bad": lambda: 1 / 0, "good": lambda: 2})
    assert isinstance(futures["bad"].exception(10), ZeroDivisionError)
    assert futures["good"].result(10) == 2


def test_results_are_bounded_but_wished_ones_stay() -> None:
    background = Background()
    kept = background.want("bob", {"kept": lambda: "here"})["kept"]
    for number in range(300):
        background.want("ann", {number: lambda: None})[number].result(10)
    assert len(background._futures) < 200
    assert background.want("eve", {"kept": lambda: "anew"})["kept"] is kept
