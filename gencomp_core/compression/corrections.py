"""Bias correction: what compression shifted in the mean of each output is put back into the bias.

Source: Nagel 2019 (arXiv:1906.04721), section 4.2; E[x] is measured on calibration inputs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self, cast

import torch
from torch import Tensor, nn

from gencomp_core.compression.activations import channel_axis
from gencomp_core.compression.changes import CHANGES
from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import layers_for, weight_of
from gencomp_core.errors import RecipeError
from gencomp_core.recipes.quantization import BiasCorrection
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches


@dataclass(frozen=True)
class AddedBiases:
    """The change: layers without a bias get one.

    Attributes:
        layers: their names.
    """

    kind: ClassVar[str] = "added-biases"
    layers: tuple[str, ...]

    def apply_(self, network: nn.Module) -> None:
        """Add biases of zeros, where there are none; KeyError where a layer is missing."""
        found = dict(network.named_modules())
        for name in self.layers:
            layer = found[name]
            if layer.bias is None:
                n = cast(int, layer.out_features if isinstance(layer, nn.Linear) else layer.out_channels)
                layer.bias = nn.Parameter(weight_of(layer).new_zeros(n), requires_grad=False)

    def fields(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"layers": list(self.layers)}

    @classmethod
    def restore(cls, fields: Mapping[str, Any]) -> Self:
        """Inverse of `fields`; KeyError, TypeError or ValueError where they are damaged."""
        return cls(tuple(fields["layers"]))


CHANGES.add(AddedBiases.kind)(AddedBiases)


@torch.no_grad()
def correct_biases_(draft: Draft, stage: BiasCorrection) -> None:
    """Add E[W x] - E[Wq x] over the dense model's inputs to the bias of each layer.

    Raises:
        RecipeError: no output has shifted, or a layer has another shape than in the dense model.
    """
    chosen = layers_for(stage, draft.layers, owner=draft.owner)
    names = [name for name in chosen if not isinstance(draft.layers[name], nn.Embedding)]
    if not names:
        return
    reference = dict(draft.reference.named_modules())
    for name in names:
        if name not in reference:
            raise RecipeError(
                f"bias-correction compares layers with those of the dense model, which has no {name}. Put this stage "
                "before the one that made it, or skip the layer."
            )
        before, now = weight_of(reference[name]).shape, weight_of(draft.layers[name]).shape
        if before != now:
            raise RecipeError(
                f"bias-correction compares layers of the dense model's shape, got {name} with {tuple(now)} in place "
                f"of {tuple(before)}. Put this stage before the one that removes channels, or skip the layer."
            )
    batches = list(forward_batches(draft.workload, stage.calibration_samples, seed=draft.seed))
    draft.calibrated_with_(batches)
    shifts = output_shifts(draft.reference, {name: draft.layers[name] for name in names}, batches)
    shifted = {name: shift for name, shift in shifts.items() if bool(shift.any())}
    if not shifted:
        raise RecipeError(
            f"bias-correction must come after a stage that changes weights, got {draft.owner} with the outputs of the "
            "dense model. Put it last."
        )
    without = tuple(name for name in shifted if draft.layers[name].bias is None)
    if without:
        draft.change_(AddedBiases(without))
    for name, shift in shifted.items():
        cast(Tensor, draft.layers[name].bias).detach().add_(shift)


def output_shifts(
    reference: nn.Module, layers: Mapping[str, nn.Module], batches: list[CalibrationBatch]
) -> dict[str, Tensor]:
    """Mean output of a reference's layers minus that of other layers on the same inputs: {layer: (outputs,)}.

    Layers that are not met are missing.
    """
    sums: dict[str, Tensor] = {}
    counts: dict[str, int] = {}

    def compare(name: str, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        axis = channel_axis(layers[name])
        difference = (output - layers[name](*inputs)).double().movedim(axis, -1).flatten(0, -2)
        sums[name] = sums.get(name, 0) + difference.sum(0)
        counts[name] = counts.get(name, 0) + len(difference)

    known = dict(reference.named_modules())
    hooks = [
        known[name].register_forward_hook(lambda _, inputs, output, name=name: compare(name, inputs, output))
        for name in layers
    ]
    try:
        with torch.no_grad():
            for batch in batches:
                batch.run(reference)
    finally:
        for hook in hooks:
            hook.remove()
    return {name: (total / counts[name]).float() for name, total in sums.items()}
