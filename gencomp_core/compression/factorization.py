"""Low-rank factorisation: a layer becomes two thin ones, which hold fewer weights and multiply less.

The first gives `rank` channels and has all of the layer's kernel, the second is a product with (out, rank).

Source: Eckart & Young 1936; Denton 2014 (arXiv:1404.0736); a k × k convolution as (out, in · k · k): Zhang 2015
(arXiv:1505.06798), section 3.1, without its non-linearity.
"""

from typing import cast

import torch
from torch import Tensor, nn

from gencomp_core.compression.calibration import rows_of
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.factored import Factored, FactoredLayers
from gencomp_core.compression.layers import (
    from_rows,
    is_transposed,
    layers_for,
    shared_layers,
    weight_layers,
    weight_of,
)
from gencomp_core.compression.low_rank import low_rank_factors
from gencomp_core.compression.moments import input_moments
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.factorization import LowRankFactorization

_KINDS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)


def whole_layers(model: nn.Module) -> tuple[dict[str, nn.Module], dict[str, str]]:
    """Layers that can be factorised, and why the others can't, both by layer name."""
    parts = {id(part) for module in model.modules() if isinstance(module, Factored) for part in module.children()}
    shared, found, reasons = shared_layers(model), dict[str, nn.Module](), dict[str, str]()
    for name, layer in weight_layers(model).items():
        if id(layer) in parts:
            reasons[name] = "is a factor already"
        elif name in shared:
            reasons[name] = "has a weight that is used outside of it too"
        elif type(layer) not in _KINDS:
            reasons[name] = f"is a {type(layer).__name__}, which is no product of an input and a weight"
        elif getattr(layer, "groups", 1) > 1:
            reasons[name] = f"is a convolution in {layer.groups} groups"
        elif break_even(layer) < 1:
            reasons[name] = "is so thin that even two layers of rank 1 hold no fewer weights"
        else:
            found[name] = layer
    return found, reasons


def break_even(layer: nn.Module) -> int:
    """Largest rank with which two layers hold fewer weights than the one."""
    n_rows, n_columns = rows_of(layer).shape
    return (n_rows * n_columns - 1) // (n_rows + n_columns)


def rank_for(energies: Tensor, share: float) -> int:
    """How many of the largest values add up to a share of all: (n,) >= 0 -> 1 to n."""
    summed = energies.clamp_min(0).sort(descending=True).values.cumsum(0)
    return min(1 + int((summed < share * summed[-1]).sum()), len(energies))


@torch.no_grad()
def factorize_(draft: Draft, stage: LowRankFactorization) -> None:
    """Replace layers by two thin ones, where these hold fewer weights.

    Raises:
        RecipeError: no layer gets smaller, or another stage has worked on one that would.
    """
    offered, _ = whole_layers(draft.model)
    chosen = cast(dict[str, LowRankFactorization], layers_for(stage, draft.layers, owner=draft.owner))
    chosen = {name: own for name, own in chosen.items() if name in offered}
    if not chosen:
        return
    weighted = [name for name, own in chosen.items() if own.weighting == "inputs"]
    grams = input_moments(draft, weighted, stage.calibration_samples, why="factorize") if weighted else {}
    factors = {}
    for name, own in chosen.items():
        rows, gram = rows_of(draft.layers[name]), grams.pop(name, None)
        rank = own.rank or rank_for(_energies(rows, gram), own.energy)
        if rank <= break_even(draft.layers[name]):
            _check_untouched(draft, name)
            factors[name] = balanced_factors(rows, rank, gram)
    if not factors:
        what, value = ("rank", stage.rank) if stage.rank else ("energy", stage.energy)
        raise RecipeError(
            f"{stage.kind}: {what} must be small enough to make a layer of {draft.owner} smaller, got {value:g}. "
            f"Write a smaller {what}, or leave the stage out."
        )
    _put_(draft, factors)


def _put_(draft: Draft, factors: dict[str, tuple[Tensor, Tensor]]) -> None:
    """Put two layers with these factors in the place of one; the second takes over its bias."""
    biases = {name: draft.layers[name].bias for name in factors}
    draft.change_(FactoredLayers({name: wide.shape[1] for name, (wide, _) in factors.items()}))
    for name, (wide, thin) in factors.items():
        factored = cast(Factored, draft.model.get_submodule(name))
        first, second = weight_of(factored.thin), weight_of(factored.wide)
        first.copy_(from_rows(thin, first.shape, transposed=is_transposed(factored.thin)))
        second.copy_(wide.view(second.shape))
        if (bias := biases[name]) is not None:
            cast(Tensor, factored.wide.bias).detach().copy_(cast(Tensor, bias))


def balanced_factors(rows: Tensor, rank: int, gram: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Factors (out, rank) and (rank, columns) of `low_rank_factors`, in which each channel is equally strong in both.

    So neither of them has rows or columns of very different ranges when it is quantized.
    """
    wide, thin = low_rank_factors(rows, rank, gram)
    strength = thin.norm(dim=1).clamp_min(torch.finfo(thin.dtype).tiny).sqrt()
    return wide * strength, thin / strength[:, None]


def _energies(rows: Tensor, gram: Tensor | None) -> Tensor:
    """Squared singular values of the weight, or of what it makes of the inputs: (out,) float64."""
    wide = rows.double()
    weighted = wide if gram is None else wide @ gram.double()
    values: Tensor = torch.linalg.eigvalsh(weighted @ wide.T)
    return values


def _check_untouched(draft: Draft, name: str) -> None:
    layer = draft.layers[name]
    hooks = [*layer._forward_pre_hooks.values(), *layer._forward_hooks.values()]
    if name in draft.quantized or hooks:
        changed = f"an input that another stage changes ({type(hooks[0]).__name__})" if hooks else "integers"
        raise RecipeError(
            f"low-rank-factorization must come before stages that round weights or inputs, got {name} with {changed}. "
            "Move this stage up, or skip the layer."
        )
