"""Low-rank branches: two thin layers beside a quantized one that add back most of what rounding took.

Source: Li 2024 (arXiv:2411.05007), section 4.2, in a simple form: the branch is fitted to the rounding error
after quantization.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from gencomp_core.compression.calibration import rows_of
from gencomp_core.compression.changes import CHANGES
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import from_rows, is_transposed, layers_for, to_rows, weight_of
from gencomp_core.compression.moments import input_moments
from gencomp_core.compression.smoothing import BUFFER as SMOOTHING
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.quantization import LowRankCorrection

IN, OUT = "low_rank_in", "low_rank_out"
"""Buffers on a layer, float16: the shape of its weight with `rank` outputs, and (outputs, rank)."""

_TRANSPOSED_OF = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


class LowRankBranch:
    """Forward hook that adds the branch's output; the factors are in the layer's buffers."""

    def __call__(self, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """The layer's output with the branch's added."""
        x = inputs[0]
        thin, wide = (cast(Tensor, getattr(layer, name)).to(x.dtype) for name in (IN, OUT))
        if SMOOTHING in layer._buffers:  # the layer's input is divided by it; the factors are for the input itself
            thin = thin * _over_inputs(layer, cast(Tensor, getattr(layer, SMOOTHING)))
        if isinstance(layer, nn.Linear):
            return output + F.linear(F.linear(x, thin), wide)
        channels = -1 - len(layer.kernel_size)  # type: ignore[arg-type]
        return output + (_convolve(layer, x, thin).movedim(channels, -1) @ wide.T).movedim(-1, channels)


def _convolve(layer: nn.Module, x: Tensor, weight: Tensor) -> Tensor:
    """What the layer does, with another weight and no bias."""
    own = cast(Any, layer)
    if not is_transposed(layer):
        return cast(Tensor, own._conv_forward(x, weight, None))
    convolve = _TRANSPOSED_OF[len(own.kernel_size)]
    return convolve(x, weight, None, own.stride, own.padding, own.output_padding, 1, own.dilation)


def _over_inputs(layer: nn.Module, per_channel: Tensor) -> Tensor:
    shape = [1] * weight_of(layer).ndim
    shape[0 if is_transposed(layer) else 1] = -1
    return per_channel.view(shape)


@dataclass(frozen=True)
class LowRankBranches:
    """The change: layers with a branch beside them.

    Attributes:
        ranks: of each branch, by layer name; replaces a branch that the layer has.
    """

    kind: ClassVar[str] = "low-rank-branches"
    ranks: Mapping[str, int]

    def apply_(self, network: nn.Module) -> None:
        """Add hooks and buffers of zeros; KeyError where a layer is missing."""
        found = dict(network.named_modules())
        for name, rank in self.ranks.items():
            layer = found[name]
            if not has_branch(layer):
                layer.register_forward_hook(LowRankBranch())
            rows = rows_of(layer)
            shape = _thin_shape(layer, rank)
            layer.register_buffer(IN, torch.zeros(shape, dtype=torch.float16, device=rows.device))
            layer.register_buffer(OUT, torch.zeros(len(rows), rank, dtype=torch.float16, device=rows.device))

    def fields(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"ranks": dict(self.ranks)}

    @classmethod
    def restore(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `fields`; KeyError, TypeError or ValueError where they are damaged."""
        return cls({str(name): int(rank) for name, rank in dict(fields["ranks"]).items()})


CHANGES.add(LowRankBranches.kind)(LowRankBranches)


def has_branch(layer: nn.Module) -> bool:
    """Whether a branch stands beside a layer."""
    return IN in layer._buffers


def _thin_shape(layer: nn.Module, rank: int) -> torch.Size:
    shape = list(weight_of(layer).shape)
    shape[1 if is_transposed(layer) else 0] = rank
    return torch.Size(shape)


def low_rank_factors(error: Tensor, rank: int, gram: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Factors B (out, rank) and A (rank, columns) with the least tr((E - B A) G (E - B A)ᵀ); G = I without a gram.

    B holds the leading eigenvectors of E G Eᵀ, and A = Bᵀ E. With G = I the error that is left is that of the
    other singular values of E (Eckart & Young 1936).
    """
    wide = error.double()
    weighted = wide if gram is None else wide @ gram.double()
    vectors = torch.linalg.eigh(weighted @ wide.T).eigenvectors.flip(1)[:, :rank]
    return vectors.float(), (vectors.T @ wide).float()


@torch.no_grad()
def correct_by_low_rank_(draft: Draft, stage: LowRankCorrection) -> None:
    """Put a branch beside each quantized layer that brings back the leading part of its rounding error.

    Raises:
        RecipeError: no layer was rounded, or none of those can have a branch.
    """
    chosen = cast(dict[str, LowRankCorrection], layers_for(stage, draft.layers, owner=draft.owner))
    if not chosen:
        return
    errors = {}
    for name in chosen:
        layer = draft.layers[name]
        if name in draft.rounded_from and _can_have_branch(layer):
            error = to_rows(draft.rounded_from[name] - weight_of(layer), transposed=is_transposed(layer))
            if bool(error.any()):
                errors[name] = error
    if not errors:
        raise RecipeError(
            f"low-rank-correction must come after a stage that rounds weights of linear layers or convolutions "
            f"without groups, got no such rounding error in {draft.owner}. Put a weight-quantization before it."
        )
    weighted = [name for name in errors if chosen[name].weighting == "inputs"]
    grams = input_moments(draft, weighted, stage.calibration_samples, why="correct") if weighted else {}
    factors = {}
    for name, error in errors.items():
        wide, thin = low_rank_factors(error, min(chosen[name].rank, *error.shape), grams.get(name))
        factors[name] = wide, thin
    draft.change_(LowRankBranches({name: wide.shape[1] for name, (wide, _) in factors.items()}))
    for name, (wide, thin) in factors.items():
        layer = draft.layers[name]
        shaped = from_rows(thin, _thin_shape(layer, len(thin)), transposed=is_transposed(layer))
        if SMOOTHING in layer._buffers:
            shaped = shaped / _over_inputs(layer, cast(Tensor, getattr(layer, SMOOTHING)))
        cast(Tensor, getattr(layer, IN)).copy_(shaped)
        cast(Tensor, getattr(layer, OUT)).copy_(wide)


def _can_have_branch(layer: nn.Module) -> bool:
    """Linear layers and convolutions without groups."""
    return not isinstance(layer, nn.Embedding) and getattr(layer, "groups", 1) == 1
