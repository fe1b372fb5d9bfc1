"""Models before and after stages, and the tables that the views of `charts/methods.py` draw."""

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import is_transposed, to_rows, weight_layers, weight_of
from gencomp_core.compression.moments import input_moments
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.services.pictures import Picture
from gencomp_core.variant import Variant, compress
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.calibration import CalibrationBatch, forward_batches

VAE, VERSES, DIFFUSION = "fashion-vae", "verses-transformer", "fashion-diffusion"
CONVOLUTION, FEED = "decoder.0.0.conv2", "encoder.0.feed.outer"
ROWS, COLUMNS = 16, 24
N_BINS = 61
N_SAMPLES = 64
DIGITS = 4
Stage = dict[str, Any]
Series = Mapping[str, Mapping[str, float]]


@cache
def workload_of(name: str) -> Workload:
    """A bundled workload, loaded once."""
    return load_workload(name)


@cache
def _made(name: str, stages: str) -> Variant:
    return compress(workload_of(name), Recipe.from_dict({"stages": json.loads(stages)}))


def made(name: str, *stages: Stage) -> Variant:
    """A workload after stages, with seed 0."""
    return _made(name, json.dumps(stages))


def rows_in(model: nn.Module, layer: str) -> Tensor:
    """Weight of a layer as a matrix: (outputs, columns)."""
    found = weight_layers(model)[layer]
    return to_rows(weight_of(found), transposed=is_transposed(found))


def batches_of(name: str) -> list[CalibrationBatch]:
    """Calibration samples, those that stages see."""
    return list(forward_batches(workload_of(name), N_SAMPLES, seed=0))


@cache
def moments(name: str, layers: tuple[str, ...]) -> dict[str, Tensor]:
    """Second moments of the dense inputs of layers: {layer: (columns, columns)}."""
    return input_moments(Draft.of(workload_of(name)), layers, N_SAMPLES, why="draw")


def told(name: str, layer: str = "", *stages: Stage) -> str:
    """Conditions of a picture in one line."""
    recipe = Recipe.from_dict({"stages": list(stages)}).title() if stages else ""
    return ", ".join(part for part in (name, layer, recipe, "seed 0") if part)


def rounded(values: Iterable[float | None]) -> list[float | None]:
    """A few digits of each value; None is a gap."""
    return [None if value is None else float(f"{value:.{DIGITS}g}") for value in values]


def map_columns(panels: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    """The upper left corner of matrices, cell by cell."""
    columns: dict[str, list[Any]] = {"series": [], "row": [], "column": [], "value": []}
    for name, matrix in panels.items():
        corner = matrix[:ROWS, :COLUMNS]
        height, width = corner.shape
        columns["series"] += [name] * corner.numel()
        columns["row"] += [row for row in range(height) for _ in range(width)]
        columns["column"] += list(range(width)) * height
        columns["value"] += rounded(corner.flatten().tolist())
    return columns


def line_columns(
    series: Mapping[str, Sequence[float | None]], x: Sequence[float] | None = None
) -> dict[str, list[Any]]:
    """Lines over their number, from 1, or over `x`."""
    columns: dict[str, list[Any]] = {"series": [], "x": [], "value": []}
    for name, values in series.items():
        columns["series"] += [name] * len(values)
        columns["x"] += list(x if x is not None else range(1, len(values) + 1))
        columns["value"] += rounded(values)
    return columns


def dot_columns(series: Series, order: Sequence[str] = ()) -> dict[str, list[Any]]:
    """One dot a name and series; names in the order that is given, or as they are met."""
    rows = [(name, label, value) for name, values in series.items() for label, value in values.items()]
    rows.sort(key=lambda row: order.index(row[1]) if order else 0)
    names, labels, values = zip(*rows, strict=True)
    return {"series": list(names), "name": list(labels), "value": rounded(values)}


def histogram_columns(dense: Tensor, levels: Mapping[str, Tensor]) -> dict[str, list[Any]]:
    """Bins of the dense values; for the others the share of each value that they take."""
    edges = torch.linspace(float(dense.min()), float(dense.max()), N_BINS + 1)
    counts = torch.histogram(dense.flatten(), edges).hist / dense.numel()
    width = float(edges[1] - edges[0])
    found = {"dense": ((edges[1:] + edges[:-1]) / 2, counts, 0.9 * width)}
    for name, values in levels.items():
        taken, n = values.flatten().unique(return_counts=True)
        found[name] = (taken, n / values.numel(), 0.7 * width)
    columns: dict[str, list[Any]] = {"series": [], "x": [], "width": [], "value": []}
    for name, (x, share, bar) in found.items():
        columns["series"] += [name] * len(x)
        columns["x"] += rounded(x.tolist())
        columns["width"] += rounded([bar] * len(x))
        columns["value"] += rounded(share.tolist())
    return columns


def weights_picture(name: str, layer: str, panels: Mapping[str, Tensor], caption: str, *stages: Stage) -> Picture:
    """A map of a corner of a layer's weights in several versions."""
    shape = " × ".join(map(str, rows_in(workload_of(name).model, layer).shape))
    return Picture(
        view="map",
        title=f"Weights of {layer}",
        x_title="column",
        y_title="row",
        caption=f"{caption} Blue is negative, orange positive, a hole is exactly zero; shown are {ROWS} × {COLUMNS} of "
        f"{shape} weights.",
        conditions=told(name, layer, *stages),
        columns=map_columns(panels),
    )


def sparsity_by_layer(model: nn.Module) -> dict[str, float]:
    """Share of exact zeros in each layer."""
    layers = weight_layers(model)
    return {name: float((weight_of(layer) == 0).double().mean()) for name, layer in layers.items()}
