import pytest

from gencomp_core.errors import GenCompError, UnknownNameError
from gencomp_core.registry import Registry, suggestion


def metrics() -> Registry[int]:
    registry: Registry[int] = Registry("metric")
    for number, name in enumerate(["kid", "fid", "psnr"]):
        registry.add(name)(number)
    return registry


def test_entries_come_in_the_order_they_were_added() -> None:
    assert list(metrics()) == ["kid", "fid", "psnr"]
    assert len(metrics()) == 3
    assert metrics()["fid"] == 1


def test_a_near_miss_is_told_the_closest_name() -> None:
    with pytest.raises(UnknownNameError) as caught:
        metrics()["fld"]
    assert str(caught.value) == "No metric named 'fld'. Did you mean 'fid'? Available: kid, fid, psnr."


def test_a_wide_miss_is_told_what_there_is() -> None:
    with pytest.raises(GenCompError) as caught:
        metrics()["accuracy"]
    assert str(caught.value) == "No metric named 'accuracy'. Available: kid, fid, psnr."


def test_a_second_entry_of_one_name_is_a_bug() -> None:
    with pytest.raises(ValueError, match="metric 'fid' is registered twice"):
        metrics().add("fid")(7)


def test_adding_leaves_the_entry_as_it_is() -> None:
    registry: Registry[object] = Registry("thing")

    @registry.add("function")
    def function() -> int:
        return 42

    assert function() == 42
    assert registry["function"] is function


def test_membership_is_by_exact_name() -> None:
    assert "fid" in metrics()
    assert "FID" not in metrics()
    assert 1 not in metrics()


def test_a_suggestion_is_the_closest_or_nothing() -> None:
    assert suggestion("sparcity", ["scope", "sparsity"]) == " Did you mean 'sparsity'?"
    assert suggestion("bits", []) == ""
    assert suggestion("zzz", ["scope", "sparsity"]) == ""
