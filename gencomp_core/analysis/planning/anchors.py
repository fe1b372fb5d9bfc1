"""Anchors: what the damage of single layers becomes by the end of the generation.

A scan by one-step outputs can't see how errors grow from step to step. Layers that all steps share, as those that read
the time or the class, shift every step the same way: on the bundled diffusion model their error at the end is a
hundred times what the scan says, where it is twice that for convolutions. A plan would pick just these. So each layer
is tried alone under a mild and a harsh option of each kind, and its scores are scaled to what comes out.
"""

from collections.abc import Generator, Mapping, Sequence

import torch
from torch import Tensor, nn

from gencomp_core.analysis.planning.damage import Damages
from gencomp_core.analysis.planning.options import recipe_of
from gencomp_core.errors import RecipeError
from gencomp_core.records import LayerOption, Progress
from gencomp_core.records.anchors import Anchor
from gencomp_core.variant import compress
from gencomp_core.workloads.base import Workload, complete_settings, makes_texts
from gencomp_core.workloads.calibration import SEED_OFFSET, forward_batches

N_SAMPLES = 16
MILD, HARSH = 0.55, 0.85
"""Which options are tried: this part of all of a kind, by damage, does less."""


def anchors_of(
    workload: Workload, damages: Damages, *, n_samples: int = N_SAMPLES, seed: int = 0
) -> Generator[Progress, None, tuple[Anchor, ...]]:
    """Errors of the finished samples for two options of each kind of each layer that was scanned."""
    error_of = _EndToEnd(workload, n_samples, seed=seed)
    layers = list(damages.layers)
    tried = anchor_options(damages)
    found = []
    for number, layer in enumerate(layers):
        yield Progress("trying layers to the end", number, len(layers))
        for option in tried:
            if option not in damages.layers[layer].scored:
                continue
            try:
                variant = compress(workload, recipe_of({n: option if n == layer else LayerOption() for n in layers}))
            except RecipeError:
                continue
            found.append(Anchor(layer=layer, option=option, error=error_of(variant.model)))
    return tuple(found)


def anchor_options(damages: Damages) -> list[LayerOption]:
    """A mild and a harsh option of rounding, and of zeroing, by their damage over all layers."""
    totals: dict[LayerOption, float] = {}
    for layer in damages.layers.values():
        for option, damage in layer.scored.items():
            totals[option] = totals.get(option, 0.0) + damage
    zeroed = [own for own in totals if own.bits is None and not own.pruning_ratio]
    rounded = [own for own in totals if own.bits is not None and not own.sparsity]
    chosen: dict[LayerOption, None] = {}
    for kind in (zeroed, rounded):
        ordered = sorted(kind, key=totals.__getitem__)
        chosen |= {ordered[int(part * len(ordered))]: None for part in (MILD, HARSH) if ordered}
    return list(chosen)


class _EndToEnd:
    """Error of samples of the same seeds against the dense model's; of texts, KL along calibration sentences."""

    def __init__(self, workload: Workload, n_samples: int, *, seed: int) -> None:
        self._workload, self._n, self._seed = workload, n_samples, seed
        settings: Mapping[str, int | float | str] = workload.preview.settings
        self._settings = complete_settings(workload, settings)
        self._are_texts = makes_texts(workload)
        self._dense = self._outputs(workload.model)

    def __call__(self, model: nn.Module) -> float:
        """Mean over samples or pieces."""
        pairs = list(zip(self._outputs(model), self._dense, strict=True))
        if self._are_texts:
            kl = [(dense.exp() * (dense - own)).sum(-1).flatten() for own, dense in pairs]
            return float(torch.cat(kl).double().mean())
        squares = sum(float((own - dense).square().double().sum()) for own, dense in pairs)
        spread = sum(float((dense - dense.mean()).square().double().sum()) for _, dense in pairs)
        return squares / 2 / spread if spread > 0 else squares / 2

    @torch.no_grad()
    def _outputs(self, model: nn.Module) -> Sequence[Tensor]:
        if self._are_texts:
            batches = forward_batches(self._workload, self._n, seed=self._seed)
            return [batch.run(model).float().log_softmax(-1) for batch in batches]
        own_seed = self._seed + SEED_OFFSET
        samples = self._workload.generate(model, 0, self._n, seed=own_seed, settings=self._settings)
        return [samples.float()]
