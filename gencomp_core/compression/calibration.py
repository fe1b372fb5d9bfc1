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
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd

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
    if isinstance(layer, nn.Embedding) or cast(int, layer.groups) != 1:
        return None
    windows = _transposed_windows(layer, x.float()) if is_transposed(layer) else _windows(layer, x.float())
    n_dims = len(cast(tuple[int, ...], layer.kernel_size))
    return windows.movedim(1, 1 + n_dims).flatten(0, n_dims).flatten(1)


def _windows(layer: nn.Module, x: Tensor) -> Tensor:
    """What a convolution sees at each place: (n, channels, *places, *kernel)."""
    own = cast(_ConvNd, layer)
    mode = "constant" if own.padding_mode == "zeros" else own.padding_mode
    return _slid(F.pad(x, own._reversed_padding_repeated_twice, mode=mode), own.kernel_size, own.stride, own.dilation)


def _transposed_windows(layer: nn.Module, x: Tensor) -> Tensor:
    """A transposed convolution is a plain one with flipped kernels on an input with zeros between its pixels."""
    own = cast(_ConvTransposeNd, layer)
    n_dims = len(own.kernel_size)
    spread = x.new_zeros(
        *x.shape[:2], *((size - 1) * step + 1 for size, step in zip(x.shape[2:], own.stride, strict=True))
    )
    spread[(slice(None), slice(None), *(slice(None, None, step) for step in own.stride))] = x
    sides: list[int] = []
    for size, gap, padding, extra in zip(
        own.kernel_size, own.dilation, cast(tuple[int, ...], own.padding), own.output_padding, strict=True
    ):
        reach = gap * (size - 1) - padding
        sides = [reach, reach + extra, *sides]  # F.pad begins at the last dimension
    windows = _slid(F.pad(spread, sides), own.kernel_size, (1,) * n_dims, own.dilation)
    return windows.flip(tuple(range(-n_dims, 0)))


def _slid(x: Tensor, kernel: tuple[int, ...], stride: tuple[int, ...], dilation: tuple[int, ...]) -> Tensor:
    """Windows over the dimensions behind the channels: (n, channels, *sizes) -> (n, channels, *places, *kernel)."""
    for dim, (size, step, gap) in enumerate(zip(kernel, stride, dilation, strict=True), start=2):
        x = x.unfold(dim, gap * (size - 1) + 1, step)[..., ::gap]
    return x


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


@torch.enable_grad()
def gradient_moments(
    model: nn.Module, layers: dict[str, nn.Module], batches: Iterable[CalibrationBatch]
) -> dict[str, Tensor]:
    """Second moments of the rows of each weight's gradient, GᵀG averaged over batches: {layer: (columns, columns)}.

    They say how much the loss feels a change of each column, over all uses of a weight. A weight whose inputs are no
    matrix has them in place of XᵀX; up to a factor they are that, where outputs have gradients of equal size.

    Source: Gupta 2018 (arXiv:1802.09568), equation 1, the right factor; Martens & Grosse 2015 (arXiv:1503.05671).

    Raises:
        RecipeError: a loss that is not finite.
    """
    sums: dict[str, Tensor] = {}
    n = 0
    for found in loss_gradients(model, layers, batches):
        n += 1
        for name, gradient in found.by_layer.items():
            rows = to_rows(gradient.float(), transposed=is_transposed(layers[name]))
            sums[name] = sums.get(name, 0) + rows.T @ rows
    return {name: total / n for name, total in sums.items()}


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
