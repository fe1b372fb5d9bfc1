"""Addresses of what a frontier may show."""

import pytest

from gencomp_core.analysis.axes import COSTS, cost_axis, quality_axes, quality_axis
from gencomp_core.errors import EvaluationError
from gencomp_core.records import FIGURES


@pytest.mark.parametrize(
    ("address", "complete"),
    [
        ("size_bytes", "size_bytes"),
        ("latency_ms", "latency_ms:eager:1"),
        ("latency_ms:openvino", "latency_ms:openvino:1"),
        ("latency_ms:openvino:16", "latency_ms:openvino:16"),
        ("peak_memory_mb:eager:4", "peak_memory_mb:eager:4"),
    ],
)
def test_a_short_address_means_eager_and_one_sample(address: str, complete: str) -> None:
    assert cost_axis(address).address == complete
    assert cost_axis(complete) == cost_axis(address)


def test_a_title_names_runtime_and_batch() -> None:
    assert cost_axis("latency_ms:openvino:16").title == "openvino latency at batch 16, ms"
    assert cost_axis("macs").title == "MACs per sample"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("size", f"--x must be one of {', '.join(COSTS)}, got 'size'. Did you mean 'size_bytes'?"),
        ("macs:eager", "--x macs belongs to no runtime, got 'macs:eager'. Write --x macs."),
        ("latency_ms:eager:1:2", "--x must be latency_ms:RUNTIME:BATCH, got 'latency_ms:eager:1:2'."),
        ("latency_ms:", "--x must be latency_ms:RUNTIME:BATCH, got 'latency_ms:'."),
        ("latency_ms:eager:many", "The batch of --x must be a whole number above 0, got 'many'."),
        ("latency_ms:eager:0", "The batch of --x must be a whole number above 0, got '0'."),
    ],
)
def test_a_wrong_cost_is_one_line(address: str, message: str) -> None:
    with pytest.raises(EvaluationError) as refused:
        cost_axis(address)
    assert str(refused.value).startswith(message)


def test_the_metric_is_the_quality_under_both_names() -> None:
    assert quality_axis("fid", metric="fid") == quality_axis("quality", metric="fid")
    assert quality_axis("bleu", metric="bleu").better == "higher"
    with pytest.raises(EvaluationError, match="--y must be one of quality, .*, got 'fid'"):
        quality_axis("fid", metric="bleu")


def test_every_figure_with_a_direction_can_be_an_axis() -> None:
    assert quality_axis("kl_nats", metric="bleu").better == "lower"
    assert quality_axis("psnr_db", metric="fid").better == "higher"
    directed = {name for name, text in FIGURES.items() if text[-1] in "↑↓"}
    assert set(quality_axes("fid")) == {"quality", *directed}
    with pytest.raises(EvaluationError, match="got 'same_class_diversity'"):
        quality_axis("same_class_diversity", metric="fid")
