"""Integer layers compute what fake quantization stands for, in any shape that torch has."""

from typing import Any

import pytest
import torch
from torch import nn

from gencomp_core.compression.activations import BUFFER, InputQuantizer
from gencomp_core.compression.layers import is_transposed, weight_of
from gencomp_core.compression.quantizers import quantize_weight
from gencomp_core.recipes.formats import IntegerFormat
from gencomp_core.runtimes.integer_layers import has_integer_form, integer_layer

X = torch.randn(3, 6, 9, 9, generator=torch.Generator().manual_seed(0))
LAYERS: list[tuple[type[nn.Module], tuple[Any, ...], dict[str, Any], torch.Tensor]] = [
    (nn.Linear, (6, 5), {}, X.movedim(1, -1)),
    (nn.Linear, (6, 5), {"bias": False}, X.movedim(1, -1)),
    (nn.Conv1d, (6, 5, 3), {"padding": 2, "dilation": 2}, X[:, :, 0]),
    (nn.Conv2d, (6, 5, 3), {"padding": 1, "stride": 2}, X),
    (nn.Conv2d, (6, 5, (3, 2)), {"padding": (1, 0), "dilation": 2}, X),
    (nn.Conv2d, (6, 5, 3), {"padding": "same", "bias": False}, X),
    (nn.Conv2d, (6, 5, 1), {}, X),
    (nn.Conv3d, (6, 5, 2), {"stride": 2}, X[:, :, None].expand(-1, -1, 3, -1, -1)),
    (nn.ConvTranspose1d, (6, 5, 5), {"stride": 3}, X[:, :, 0]),
    *(
        (nn.ConvTranspose2d, (6, 5, kernel), {"stride": stride, "padding": padding, "output_padding": more}, X)
        for kernel, stride, padding, more in [
            (4, 2, 1, 0), (3, 2, 1, 1), (3, 1, 0, 0), (5, 3, 2, 2), (2, 2, 0, 0), (1, 2, 0, 1),
            ((4, 3), (2, 3), (1, 0), 0),
        ]
    ),
]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("kind", "arguments", "options", "x"), LAYERS, ids=lambda own: getattr(own, "__name__", ""))
@pytest.mark.parametrize(("bits", "symmetric"), [(8, False), (8, True), (4, False), (4, True)])
@pytest.mark.parametrize("seam", [None, 2])
def test_an_integer_layer_equals_the_fake_quantized_one(
    kind: type[nn.Module], arguments: Any, options: Any, x: torch.Tensor, bits: int, symmetric: bool, seam: int | None
) -> None:
    layer = kind(*arguments, **options).requires_grad_(False)
    weight = quantize_weight(weight_of(layer), IntegerFormat(8, symmetric=True), transposed=is_transposed(layer))
    weight_of(layer).copy_(weight.dequantize())
    quantizer = InputQuantizer(bits, symmetric, False, seam)
    largest = 2 ** (bits - 1) - 1 if symmetric else 2**bits - 1
    scale, zero = 4.5 / largest * (1 if symmetric else 2), 0 if symmetric else largest // 2
    layer.register_buffer(BUFFER, torch.tensor([[scale, zero], [0.9 * scale, zero]])[: quantizer.n_parts])
    layer.register_forward_pre_hook(quantizer)
    assert has_integer_form(layer)
    torch.testing.assert_close(integer_layer(layer, weight)(x), layer(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(4, 4, 3, groups=2),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode="reflect"),
        nn.ConvTranspose2d(4, 4, 3, dilation=2),
        nn.Embedding(4, 4),
    ],
)
def test_what_has_no_integer_form_says_so(layer: nn.Module) -> None:
    assert not has_integer_form(layer)
