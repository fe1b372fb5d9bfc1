"""Anchors: what the damage of single layers becomes by the end of the generation.

A scan by one-step outputs can't see how errors grow from step to step. Layers that all steps share, as those that read
the time or the class, shift every step the same way: on the bundled diffusion model their error at the end is a
hundred times what the scan says, where it is twice that for convolutions. A plan would pick just these. So each layer
is tried alone under a mild and a harsh option of each kind, and its scores are scaled to what comes out.
"""

from collections.abc import Callable, Generator, Mapping

import torch
from torch import Tensor, nn

from gencomp_core.analysis.planning.damage import Damages
from gencomp_core.analysis.planning.options import recipe_of
from gencomp_core.analysis.sensitivity.outputs import Outcome, observed_batches, outputs_of
from gencomp_core.errors import RecipeError
from gencomp_core.records import LayerOption, Progress
from gencomp_core.records.anchors import Anchor
from gencomp_core.variant import compress
from gencomp_core.workloads.base import Workload, complete_settings, makes_texts
from gencomp_core.workloads.calibration import SEED_OFFSET

N_SAMPLES = 16
MILD, HARSH = 0.55, 0.85
"""Which options are tried: this part of all of a kind, by damage, does less."""


def anchors_of(
    workload: Workload, damages: Damages, *, n_samples: int = N_SAMPLES, seed: int = 0
) -> Generator[Progress, None, tuple[Anchor, ...]]:
    """Errors of the finished samples for two options of each kind of each layer that was scanned."""
    error_of = EndToEnd(workload, n_samples, seed=seed)
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
    """A mild and a harsh option of zeroing, of rounding, and of both together, by their damage over all layers."""
    totals: dict[LayerOption, float] = {}
    for layer in damages.layers.values():
        for option, damage in layer.scored.items():
            totals[option] = totals.get(option, 0.0) + damage
    zeroed = [own for own in totals if own.bits is None and not own.pruning_ratio]
    rounded = [own for own in totals if own.bits is not None and not own.sparsity]
    both = [own for own in totals if own.bits is not None and own.sparsity]
    chosen: dict[LayerOption, None] = {}
    for kind in (zeroed, rounded, both):
        ordered = sorted(kind, key=totals.__getitem__)
        chosen |= {ordered[int(part * len(ordered))]: None for part in (MILD, HARSH) if ordered}
    return list(chosen)


class EndToEnd:
    """Error of samples of the same seeds against the dense model's; of texts, KL along calibration sentences."""

    def __init__(self, workload: Workload, n_samples: int, *, seed: int) -> None:
        self._outputs = outputs_of(workload)
        self._runs = _runs(workload, n_samples, seed=seed)
        self._dense = self._run(workload.model)

    def __call__(self, model: nn.Module) -> float:
        """Sum over samples or pieces, relative to the variance of the dense samples."""
        pairs = zip(self._run(model), self._dense, strict=True)
        found = Outcome.joined(self._outputs.outcome(own, dense) for own, dense in pairs)
        return float(found.errors.sum() / found.units.sum())

    @torch.no_grad()
    def _run(self, model: nn.Module) -> list[Tensor]:
        return [self._outputs.read(run(model)) for run in self._runs]


def _runs(workload: Workload, n: int, *, seed: int) -> list[Callable[[nn.Module], Tensor]]:
    """What is compared: whole generations of images at the settings of a preview; sentences for texts."""
    if makes_texts(workload):
        return [batch.run for batch in observed_batches(workload, n, seed=seed)]
    settings: Mapping[str, int | float | str] = workload.preview.settings
    chosen = complete_settings(workload, settings)

    def generate(model: nn.Module) -> Tensor:
        samples: Tensor = workload.generate(model, 0, n, seed=seed + SEED_OFFSET, settings=chosen)
        return samples

    return [generate]
