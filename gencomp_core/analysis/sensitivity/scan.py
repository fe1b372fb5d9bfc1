"""The sensitivity scan: damage of every option of every layer, by one of three methods."""

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np
import torch

from gencomp_core.analysis.sensitivity.estimates import INFINITE, of_replicates
from gencomp_core.analysis.sensitivity.fisher import Change, Damages, fisher_damages
from gencomp_core.analysis.sensitivity.options import Levels, options_for, recipe_of
from gencomp_core.analysis.sensitivity.outputs import outputs_of
from gencomp_core.analysis.sensitivity.proxy import N_STEPS, OutputProxy
from gencomp_core.analysis.sensitivity.subjects import (
    Channels,
    channel_families,
    dense_bytes,
    removal,
    scannable_layers,
    variant_of,
)
from gencomp_core.analysis.sensitivity.weights import weight_under
from gencomp_core.errors import EvaluationError, RecipeError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import (
    METRICS,
    Direction,
    Estimate,
    LayerOption,
    LayerScore,
    Measurement,
    Progress,
    ScanMethod,
    ScanRequest,
)
from gencomp_core.registry import suggestion
from gencomp_core.workloads.base import Settings, Workload, complete_settings

METHODS: tuple[ScanMethod, ...] = ("fisher", "proxy", "metric")
DIRECTIONS: tuple[Direction, ...] = ("only-this", "all-but-this")
N_SAMPLES = 32
N_PROBES = 4
N_PROBES_OF_CHANNELS = 16  # effects of removed weights are not taken to be independent, which takes more
BUDGET_BYTES = 1_000_000_000

Measure = Callable[[Recipe], Measurement]
Key = tuple[str, LayerOption]
Steps = Generator[Progress | LayerScore, None, None]
Sized = tuple[int, int]
ByPosition = Mapping[str | None, Estimate]


def scan_request(
    workload: Workload,
    *,
    method: str = "fisher",
    direction: str = "only-this",
    n_samples: int | None = None,
    seed: int = 0,
    n_probes: int = N_PROBES,
    n_steps: int = N_STEPS,
    sampling: Settings | None = None,
) -> ScanRequest:
    """Request with everything filled in.

    Args:
        n_samples: calibration samples; for `metric` those that a published figure takes.
        n_probes: random signs per calibration batch, of `fisher`.
        n_steps: most steps of the generation that are asked, of `proxy`.
        sampling: settings of `metric` that differ from the workload's defaults.

    Raises:
        EvaluationError: a value that is out of range.
    """
    for name, value, choices in (("--method", method, METHODS), ("--direction", direction, DIRECTIONS)):
        if value not in choices:
            raise EvaluationError(
                f"{name} must be one of {', '.join(choices)}, got {value!r}.{suggestion(value, list(choices))}"
            )
    usual = METRICS[workload.metric].n_samples if method == "metric" else N_SAMPLES
    n = usual if n_samples is None else n_samples
    if min(n, n_probes, n_steps) < 1:
        raise EvaluationError(f"--samples must be at least 1, got {n}. A scan of nothing says nothing.")
    settings: dict[str, int | float | str] = {}
    if method == "fisher":
        settings = {"probes": n_probes}
    elif method == "proxy":
        settings = {"steps": n_steps}
    else:
        settings = complete_settings(workload, sampling)
    return ScanRequest(
        workload=workload.name,
        weights_hash=workload.weights_hash,
        method=cast(ScanMethod, method),
        direction=cast(Direction, direction),
        n_samples=n,
        seed=seed,
        settings=settings,
    )


def scan_sensitivity(
    workload: Workload,
    *,
    axes: Collection[str] = ("sparsity", "bits"),
    method: str = "fisher",
    direction: str = "only-this",
    n_samples: int | None = None,
    seed: int = 0,
    levels: Levels | None = None,
    group_sizes: Sequence[int | None] = (None,),
    measure: Measure | None = None,
) -> Iterator[LayerScore]:
    """Damage of each option of each layer, over all of the generation and by position.

    Args:
        axes: `sparsity`, `bits`, `pruning_ratio`, `joint` (sparsity × bits, with the single effects).
        method: `fisher`, one pass for all; `proxy`, the output error of each changed network; `metric`, FID or BLEU.
        direction: compress one layer alone, or all but it.
        levels: in place of the usual ones, by axis.
        group_sizes: weights that share a scale, for every width; None is one scale a channel.
        measure: makes the measurements of `metric`; without it they are made here and not kept.

    Raises:
        EvaluationError: a value that is out of range, or outputs that the method can't use.
    """
    request = scan_request(workload, method=method, direction=direction, n_samples=n_samples, seed=seed)
    options = options_for(axes, levels=levels, group_sizes=group_sizes)
    for step in scan_steps(workload, request, options, measure=measure):
        if isinstance(step, LayerScore):
            yield step


def scan_steps(
    workload: Workload,
    request: ScanRequest,
    options: Sequence[LayerOption],
    *,
    known: Collection[Key] = (),
    measure: Measure | None = None,
) -> Steps:
    """Scores as they are found, with the progress between them.

    Args:
        known: layers and options that need no score any more.
    """
    todo = _todo(workload, options, set(known), seed=request.seed)
    if not todo.is_empty:
        yield from _METHODS[request.method](workload, request, todo, measure)


@dataclass(frozen=True, eq=False)
class _Part:
    """One option of one layer, or of channels that layers share; `named` are the layers that a recipe has to name."""

    name: str
    named: tuple[str, ...]
    option: LayerOption
    channels: Channels | None = None


@dataclass(frozen=True, eq=False)
class _Todo:
    """What is left to score.

    Attributes:
        options: by layer.
        channels: options that remove channels, by what shrinks together.
    """

    options: dict[str, list[LayerOption]] = field(default_factory=dict)
    channels: list[tuple[Channels, list[LayerOption]]] = field(default_factory=list)

    @property
    def is_empty(self) -> bool:
        return not self.options and not self.channels

    def parts(self) -> Iterator[_Part]:
        """All of it, one by one."""
        for name, chosen in self.options.items():
            yield from (_Part(name, (name,), option) for option in chosen)
        for own, chosen in self.channels:
            yield from (_Part(own.name, own.makers, option, own) for option in chosen)

    def __len__(self) -> int:
        return sum(1 for _ in self.parts())


def _todo(workload: Workload, options: Sequence[LayerOption], known: set[Key], *, seed: int) -> _Todo:
    of_weights = [option for option in options if not option.pruning_ratio and not option.is_nothing]
    of_channels = [option for option in options if option.pruning_ratio]
    left = {name: [o for o in of_weights if (name, o) not in known] for name in scannable_layers(workload.model)}
    found = channel_families(workload, seed=seed)[0] if of_channels else []
    channels = [(own, [o for o in of_channels if (own.name, o) not in known]) for own in found]
    return _Todo({n: own for n, own in left.items() if own}, [(own, chosen) for own, chosen in channels if chosen])


# By one pass


def _by_fisher(workload: Workload, request: ScanRequest, todo: _Todo, measure: Measure | None) -> Steps:
    layers = scannable_layers(workload.model)
    for group in _groups(workload, todo.options):
        squares, sizes, refused = {}, {}, set[Key]()
        for name in group:
            yield Progress("preparing options", list(todo.options).index(name), len(todo.options))
            weight = layers[name]._parameters["weight"]
            assert weight is not None
            rows = []
            for option in todo.options[name]:
                try:
                    made = weight_under(layers[name], option)
                    rows.append((made.weight - weight.detach()).flatten().square())
                    sizes[name, option] = (made.n_bytes, dense_bytes(layers[name]))
                except RecipeError:
                    rows.append(torch.zeros(weight.numel()))
                    sizes[name, option] = (dense_bytes(layers[name]),) * 2
                    refused.add((name, option))
            squares[name] = Change(torch.stack(rows))
        found = yield from _passed(workload, request, squares, int(request.settings["probes"]))
        yield from _scores(request, {name: todo.options[name] for name in group}, found, sizes, refused)
    if todo.channels:
        yield from _channels_by_fisher(workload, request, todo)


def _channels_by_fisher(workload: Workload, request: ScanRequest, todo: _Todo) -> Steps:
    changes, sizes, options = dict[str, Change](), dict[Key, Sized](), dict[str, list[LayerOption]]()
    for number, (own, chosen) in enumerate(todo.channels):
        yield Progress("preparing channels", number, len(todo.channels))
        found = {option: removal(workload, own, option) for option in chosen}
        made = {option: one for option, one in found.items() if one is not None}
        if not made:
            continue
        options[own.name] = list(made)
        changes[own.name] = Change(effects=[one.effects for one in made.values()])
        sizes |= {(own.name, option): (one.n_bytes, one.dense_bytes) for option, one in made.items()}
    if not changes:
        return
    n_probes = max(N_PROBES_OF_CHANNELS, int(request.settings["probes"]))
    damages = yield from _passed(workload, request, changes, n_probes)
    yield from _scores(request, options, damages, sizes, ())


def _passed(
    workload: Workload, request: ScanRequest, changes: Mapping[str, Change], n_probes: int
) -> Generator[Progress, None, dict[str, Damages]]:
    found = yield from fisher_damages(
        workload, changes, n_samples=request.n_samples, n_probes=n_probes, seed=request.seed
    )
    return found


def _scores(
    request: ScanRequest,
    options: Mapping[str, Sequence[LayerOption]],
    found: Mapping[str, Damages],
    sizes: Mapping[Key, Sized],
    refused: Collection[Key],
) -> Iterator[LayerScore]:
    """Scores from replicates; all but one layer together cost what all do less what that one does."""
    totals: dict[tuple[str | None, LayerOption], np.ndarray] = {}
    for name, damages in found.items():
        for where, values in damages.items():
            for option, own in zip(options[name], values, strict=True):
                totals[where, option] = totals.get((where, option), 0) + own
    for name, damages in found.items():
        for number, option in enumerate(options[name]):
            by_position: dict[str | None, Estimate] = {}
            for where, values in damages.items():
                own = values[number]
                if request.direction == "all-but-this":
                    own = totals[where, option] - own
                by_position[where] = INFINITE if (name, option) in refused else of_replicates(own)
            yield from _of_option(request, name, option, by_position, sizes[name, option])


def _groups(workload: Workload, options: Mapping[str, Sequence[LayerOption]]) -> Iterator[list[str]]:
    """Layers in groups whose squared changes fit into memory; a pass over the batches is made for each."""
    layers = scannable_layers(workload.model)
    group: list[str] = []
    used = 0
    for name, chosen in options.items():
        n_bytes = dense_bytes(layers[name]) * len(chosen)
        if group and used + n_bytes > BUDGET_BYTES:
            yield group
            group, used = [], 0
        group.append(name)
        used += n_bytes
    if group:
        yield group


# By running each


def _by_proxy(workload: Workload, request: ScanRequest, todo: _Todo, measure: Measure | None) -> Steps:
    yield Progress("recording the dense model", 0, len(todo))
    proxy = OutputProxy(
        workload, n_samples=request.n_samples, seed=request.seed, n_steps=int(request.settings["steps"])
    )
    only = request.direction == "only-this"
    for number, part in enumerate(todo.parts()):
        yield Progress(f"{part.name}, {part.option.title()}", number, len(todo))
        sized = _sized(workload, part)
        if sized is None:
            continue
        if only and sized.weight is not None:
            damages = proxy.of_weights({part.name: sized.weight})
        else:
            variant = variant_of(workload, part.named, part.option, direction=request.direction, seed=request.seed)
            damages = proxy.refused() if variant is None else proxy.of_network(variant.model)
        yield from _of_option(request, part.name, part.option, damages, sized.n_bytes)


def _by_metric(workload: Workload, request: ScanRequest, todo: _Todo, measure: Measure | None) -> Steps:
    made = measure or _measured_here(workload, request)
    better = METRICS[workload.metric].better
    for number, part in enumerate(todo.parts()):
        yield Progress(f"{part.name}, {part.option.title()}", number, len(todo))
        sized = _sized(workload, part)
        if sized is None:
            continue
        try:
            change = made(recipe_of(part.option, part.named, direction=request.direction)).quality_change
        except RecipeError:
            change = None
        damage = INFINITE if change is None else (change if better == "lower" else _negated(change))
        yield from _of_option(request, part.name, part.option, {None: damage}, sized.n_bytes)


def _measured_here(workload: Workload, request: ScanRequest) -> Measure:
    from gencomp_core.analysis.measurement import Shipped, make_request, measure_request

    def measure(recipe: Recipe) -> Measurement:
        asked = make_request(
            workload, recipe, n_samples=request.n_samples, seed=request.seed, settings=request.settings
        )
        steps = measure_request(Shipped.of(workload, recipe, seed=request.seed), asked)
        while True:
            try:
                next(steps)
            except StopIteration as finished:
                found: Measurement = finished.value
                return found

    return measure


@dataclass(frozen=True, eq=False)
class _Sized:
    """Bytes of what an option is done to, and of the same when dense; its weight, where only that is changed."""

    n_bytes: Sized
    weight: torch.Tensor | None = None


def _sized(workload: Workload, part: _Part) -> _Sized | None:
    """What an option makes of a part; None where it would remove no channel."""
    if part.channels is not None:
        made = removal(workload, part.channels, part.option)
        return None if made is None else _Sized((made.n_bytes, made.dense_bytes))
    layer = scannable_layers(workload.model)[part.name]
    dense = dense_bytes(layer)
    try:
        own = weight_under(layer, part.option)
    except RecipeError:
        return _Sized((dense, dense))
    return _Sized((own.n_bytes, dense), own.weight)


def _of_option(
    request: ScanRequest, name: str, option: LayerOption, damages: ByPosition, sizes: Sized
) -> Iterator[LayerScore]:
    for position, damage in damages.items():
        yield LayerScore(
            layer=name,
            option=option,
            direction=request.direction,
            method=request.method,
            position=position,
            damage=damage,
            size_bytes=sizes[0],
            dense_size_bytes=sizes[1],
        )


def _negated(change: Estimate) -> Estimate:
    return Estimate(value=-change.value, low=-change.high, high=-change.low)


_METHODS: dict[ScanMethod, Callable[[Workload, ScanRequest, _Todo, Measure | None], Steps]] = {
    "fisher": _by_fisher,
    "proxy": _by_proxy,
    "metric": _by_metric,
}


def unit_of(workload: Workload, method: ScanMethod) -> str:
    """What a damage of a method is, in words."""
    if method == "metric":
        facts = METRICS[workload.metric]
        return f"{facts.title} {'more' if facts.better == 'lower' else 'less'} than dense"
    return outputs_of(workload).unit
