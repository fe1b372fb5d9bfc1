"""Gap recovered, by hand."""

import pytest

from gencomp_core.analysis.recovered import gap_recovered
from gencomp_core.records import Estimate


def around(value: float, half: float) -> Estimate:
    return Estimate(value=value, low=value - half, high=value + half)


@pytest.mark.parametrize(
    ("damaged", "recovered", "gap"),
    [
        (10.0, 1.0, 0.9),  # FID: more is worse
        (-10.0, -1.0, 0.9),  # BLEU: less is worse
        (10.0, 0.0, 1.0),
        (10.0, 10.0, 0.0),
        (10.0, 20.0, -1.0),
        (10.0, -1.0, 1.1),
    ],
)
def test_it_is_the_share_of_the_damage_that_is_gone(damaged: float, recovered: float, gap: float) -> None:
    found = gap_recovered(around(damaged, 1.0), around(recovered, 0.5))
    assert found is not None
    assert found.value == pytest.approx(gap)
    assert found.low < found.value < found.high


def test_its_ends_are_those_of_the_worst_pairing() -> None:
    found = gap_recovered(around(10.0, 2.0), around(1.0, 0.5))
    assert found is not None
    assert (found.low, found.high) == pytest.approx((1 - 1.5 / 8, 1 - 0.5 / 12))


def test_what_was_never_lost_can_not_be_recovered() -> None:
    assert gap_recovered(around(0.1, 0.2), around(0.0, 0.2)) is None
