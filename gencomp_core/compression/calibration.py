"""What calibration shows of a draft: the inputs of its layers, and the gradients of its weights.

Inputs are seen as the matrix that a layer multiplies: one row per output position, one column per
column of `to_rows(weight)`. So a Linear, a convolution and a transposed convolution look alike to
Wanda, SparseGPT and GPTQ.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gencomp_core.compression.layers import is_transposed, to_rows, weight_of
from gencomp_core.errors import RecipeError
from gencomp_core.workloads.calibration import CalibrationBatch

ROWS_A_BATCH = 2048
Visit = Callable[[str, Tensor], None]


def input_matrix(layer: nn.Module, x: Tensor) -> Tensor | None:
    """Input of a layer as the matrix X of `X @ to_rows(weight).T`: (positions, columns) float32.

    None for layers that have no such matrix: embeddings (a look-up), and convolutions with groups.
    """
    if isinstance(layer, nn.Linear):
        return x.reshape(-1, x.shape[-1]).float()
    if isinstance(layer, nn.Conv2d) and layer.groups == 1 and layer.padding_mode == "zeros":
        padding = cast(tuple[int, int], layer.padding)
        kernel = cast(tuple[int, int], layer.kernel_size)
        columns = F.unfold(x.float(), kernel, dilation=layer.dilation, padding=padding, stride=layer.stride)
        return columns.transpose(1, 2).flatten(0, 1)
    if isinstance(layer, nn.ConvTranspose2d) and is_transposed(layer) and tuple(layer.dilation) == (1, 1):
        return _transposed_input(layer, x.float())
    return None


def _transposed_input(layer: nn.ConvTranspose2d, x: Tensor) -> Tensor:
    """A transposed convolution is a plain one with flipped kernels on an input with zeros between its pixels."""
    (height, width), (stride_y, stride_x) = layer.kernel_size, layer.stride  # type: ignore[misc]
    padding = cast(tuple[int, int], layer.padding)
    n, channels, h, w = x.shape
    spread = x.new_zeros(n, channels, (h - 1) * stride_y + 1, (w - 1) * stride_x + 1)
    spread[:, :, ::stride_y, ::stride_x] = x
    top, left = height - 1 - padding[0], width - 1 - padding[1]
    extra = cast(tuple[int, int], layer.output_padding)
    padded = F.pad(spread, (left, left + extra[1], top, top + extra[0]))
    columns = F.unfold(padded, (height, width)).transpose(1, 2).flatten(0, 1)
    return columns.view(-1, channels, height, width).flip(2, 3).flatten(1)


def visit_inputs(
    model: nn.Module, layers: dict[str, nn.Module], batches: Iterable[CalibrationBatch], visit: Visit, *, seed: int = 0
) -> None:
    """Call `visit(name, X)` for every layer and batch, with at most 2,048 random rows of the input matrix.

    A layer that is called several times in a batch (a decoder, a shared layer) is visited each time.
    """
    generator = torch.Generator().manual_seed(seed)

    def see(name: str, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        rows = input_matrix(layer, inputs[0].detach())
        if rows is None or not len(rows):
            return
        if len(rows) > ROWS_A_BATCH:
            rows = rows[torch.randperm(len(rows), generator=generator)[:ROWS_A_BATCH].to(rows.device)]
        visit(name, rows)

    hooks = [
        layer.register_forward_pre_hook(lambda layer, inputs, name=name: see(name, layer, inputs))
        for name, layer in layers.items()
    ]
    try:
        with torch.no_grad():
            for batch in batches:
                batch.run(model)
    finally:
        for hook in hooks:
            hook.remove()


@dataclass
class InputStatistics:
    """Second moments of a layer's input.

    Attributes:
        gram: (columns, columns) float32, XᵀX / n.
        n: rows that were seen.
    """

    gram: Tensor
    n: int = 0

    def add_(self, rows: Tensor) -> None:
        """Take more rows into the average: (m, columns)."""
        total = self.n + len(rows)
        self.gram.mul_(self.n / total).addmm_(rows.T, rows, alpha=1 / total)
        self.n = total

    def norms(self) -> Tensor:
        """Root mean square of each column: (columns,)."""
        return self.gram.diagonal().clamp_min(0).sqrt()


def input_statistics(
    model: nn.Module, layers: dict[str, nn.Module], batches: Iterable[CalibrationBatch], *, seed: int = 0
) -> dict[str, InputStatistics]:
    """Second moments of the inputs of each layer that was met; others are missing."""
    found: dict[str, InputStatistics] = {}

    def add(name: str, rows: Tensor) -> None:
        if name not in found:
            found[name] = InputStatistics(rows.new_zeros(rows.shape[1], rows.shape[1]))
        found[name].add_(rows)

    visit_inputs(model, layers, batches, add, seed=seed)
    return found


def input_norms(
    model: nn.Module, layers: dict[str, nn.Module], batches: Iterable[CalibrationBatch], *, seed: int = 0
) -> dict[str, Tensor]:
    """Root mean square of each input column: {layer: (columns,)}; cheaper than `input_statistics`."""
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def add(name: str, rows: Tensor) -> None:
        sums[name] = sums.get(name, 0) + rows.square().sum(0)
        counts[name] = counts.get(name, 0) + len(rows)

    visit_inputs(model, layers, batches, add, seed=seed)
    return {name: (total / counts[name]).sqrt() for name, total in sums.items()}


@dataclass(frozen=True, eq=False)
class LossGradients:
    """Gradients of one calibration loss.

    Attributes:
        stage: of the batch.
        loss: its value.
        by_layer: {layer: gradient, the shape of its weight}.
    """

    stage: str
    loss: float
    by_layer: dict[str, Tensor]


def loss_gradients(
    model: nn.Module, layers: dict[str, nn.Module], batches: Iterable[CalibrationBatch]
) -> Iterator[LossGradients]:
    """Gradients of the weights of `layers`, batch by batch; the model itself is left as it was.

    Raises:
        RecipeError: a loss that is not finite.
    """
    with _differentiable(layers) as weights:
        for batch in batches:
            loss = batch.run(model)
            if not math.isfinite(loss.item()):
                raise RecipeError(
                    f"The loss at {batch.stage} must be finite to take gradients of, got {loss.item()}. "
                    "Compress less before this stage."
                )
            found = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
            gradients = {
                name: torch.zeros_like(weight) if gradient is None else gradient
                for (name, weight), gradient in zip(weights.items(), found, strict=True)
            }
            yield LossGradients(batch.stage, loss.item(), gradients)


@contextmanager
def _differentiable(layers: dict[str, nn.Module]) -> Iterator[dict[str, nn.Parameter]]:
    weights = {name: cast(nn.Parameter, layer.weight) for name, layer in layers.items()}
    before = {name: weight.requires_grad for name, weight in weights.items()}
    for weight in weights.values():
        weight.requires_grad_(True)
    try:
        yield weights
    finally:
        for name, weight in weights.items():
            weight.requires_grad_(before[name])


def rows_of(layer: nn.Module) -> Tensor:
    """The layer's weight as a matrix with one row per output channel: (out, columns) float32, a copy or a view."""
    return to_rows(weight_of(layer).float(), transposed=is_transposed(layer))
