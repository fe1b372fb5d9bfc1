"""What a slider shows at once: same-seed samples and exact bytes of a recipe, simulated in memory.

Nothing here is kept in the store: a preview is fake-quantized and judged on few samples.
"""

import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, TypeVar

import numpy as np

from gencomp_core.analysis.images import ImageSamples
from gencomp_core.analysis.judging import Judge, judge_for
from gencomp_core.analysis.latents import interpolation_strips
from gencomp_core.analysis.measurement import cost_fields
from gencomp_core.analysis.samples import Drawer
from gencomp_core.analysis.texts import TextSamples
from gencomp_core.artifact.packing import pack
from gencomp_core.charts.tiles import tile
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Estimate, Progress, Quality
from gencomp_core.services.background import Background, Key, Work
from gencomp_core.variant import Variant, compress
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import OptionValue, Outputs, complete_settings, makes_texts

QUICK_SAMPLES = {"fid": 500, "bleu": 200}
SHORT_TURN = 5
YIELD_S = 0.005
QUIET_S = 1.2
Shown = np.ndarray | tuple[str, ...]
T = TypeVar("T")
_computing = threading.Lock()  # one computation at a time: two would only take turns on the same cores
_behind = Background()
_sampler = ThreadPoolExecutor(1, thread_name_prefix="preview")  # a new thread would start its OpenMP pool anew
_beside = ThreadPoolExecutor(1, thread_name_prefix="cost")


@dataclass(frozen=True, eq=False)
class Preview:
    """Samples of one recipe beside the dense ones.

    Attributes:
        compressed, dense: (h, w) uint8 sheets of the same numbered images, or the texts themselves.
        n_samples: how many samples each holds.
        settings: sampling settings that made them.
        drift: same-seed distance from dense, named by the metric's `MetricFacts.drift`.
        cost: bytes, zeros and bits, exact (`cost_fields`).
        seconds: it took.
        sources, references: prompts of the texts, and what a person wrote for them.
    """

    compressed: Shown
    dense: Shown
    n_samples: int
    settings: dict[str, OptionValue]
    drift: Estimate
    cost: dict[str, Any]
    seconds: float
    sources: Sequence[str] = ()
    references: Sequence[str] = ()


@dataclass(frozen=True)
class QuickQuality:
    """The metric over few samples, with dense at the same seeds.

    Attributes:
        value, dense, change: of the recipe, of dense, and their paired difference.
    """

    value: Quality
    dense: Quality
    change: Estimate


def preview(workload: str, recipe: Recipe) -> Preview:
    """A few same-seed samples of a recipe and of dense, at once.

    Raises:
        RecipeError: the recipe names a layer that the workload does not have.
    """
    with _pages.first(), _computing:
        return _sampler.submit(_preview, workload, recipe).result()


def fill_in(workload: str, recipe: Recipe, *, owner: str) -> "tuple[Future[Preview], Future[QuickQuality]]":
    """More samples at the default settings, and the metric over few, computed by a thread behind the page.

    Args:
        owner: whose page it is; what this owner asked for before and has not begun is dropped.
    """
    full, quality = ("full", workload, recipe), ("quality", workload, recipe)
    works: dict[Key, Work] = {
        full: lambda: _full_preview(workload, recipe),
        quality: lambda: _quick_quality(workload, recipe),
    }
    futures = _behind.want(owner, works)
    return futures[full], futures[quality]


def variant_of(workload: str, recipe: Recipe) -> Variant:
    """The compressed model of a recipe; the last few are kept. Nobody may change it."""
    return _variant(workload, recipe)


def for_a_page(work: Callable[[], T]) -> T:
    """Compute for a page that waits: before what fills in behind, alone, and in the thread whose pool is warm."""
    with _pages.first(), _computing:
        return _sampler.submit(work).result()


@lru_cache(maxsize=16)
def strips(workload: str, recipe: Recipe, *, n_strips: int = 6, n_steps: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Paths through the latent space of dense and of a recipe: two (h, w) uint8 sheets, a path a row.

    Raises:
        EvaluationError: the workload has no latents.
    """
    with _pages.first(), _computing:
        loaded = load_workload(workload)
        models = (loaded.model, _variant(workload, recipe).model)
        sheets = [interpolation_strips(loaded, model, n_strips=n_strips, n_steps=n_steps) for model in models]
    dense, compressed = (tile(sheet.numpy(), columns=n_steps) for sheet in sheets)
    return dense, compressed


@lru_cache(maxsize=64)
def _preview(workload_name: str, recipe: Recipe) -> Preview:
    started = time.perf_counter()
    workload = load_workload(workload_name)
    plan = workload.preview
    settings = complete_settings(workload, plan.settings)
    model = _variant(workload_name, recipe).model
    cost = _beside.submit(_cost, workload_name, recipe)  # packing takes half as long as sampling
    outputs = workload.generate(model, 0, plan.n_samples, seed=0, settings=settings)
    cost.result()
    dense = _dense_outputs(workload_name, plan.n_samples, tuple(settings.items()))
    judge = _judge(workload_name)
    return _pair(workload_name, recipe, judge.observe([outputs], 0), judge.observe([dense], 0), settings, started)


def _full_preview(workload_name: str, recipe: Recipe) -> Preview:
    started = time.perf_counter()
    workload = load_workload(workload_name)
    settings = complete_settings(workload)
    drawer = Drawer(workload, seed=0, settings=settings, judge=_judge(workload_name), batch=SHORT_TURN)
    n = workload.preview.n_samples_full
    dense = _in_turns(drawer.dense(n))
    with _computing:
        model = _variant(workload_name, recipe).model
    samples = _in_turns(drawer.draw(model, n, what="sampling"))
    with _computing:
        return _pair(workload_name, recipe, samples, dense, settings, started)


def _pair(
    workload_name: str, recipe: Recipe, samples: Any, dense: Any, settings: dict[str, OptionValue], started: float
) -> Preview:
    return Preview(
        compressed=_shown(samples),
        dense=_shown(dense),
        n_samples=len(samples),
        settings=settings,
        drift=_judge(workload_name).drift(_variant(workload_name, recipe).model, samples, dense),
        cost=_cost(workload_name, recipe),
        seconds=time.perf_counter() - started,
        **_prompts(workload_name, len(samples)),
    )


def _prompts(workload_name: str, n: int) -> dict[str, Sequence[str]]:
    workload = load_workload(workload_name)
    if not makes_texts(workload):
        return {}
    return {"sources": workload.prompts(0, n), "references": workload.references(0, n)}


def _shown(samples: ImageSamples | TextSamples) -> Shown:
    return samples.texts if isinstance(samples, TextSamples) else tile(samples.images.numpy())


@cache
def _judge(workload_name: str) -> Judge[Any]:
    return judge_for(load_workload(workload_name), "fashion")


@lru_cache(maxsize=4)
def _variant(workload_name: str, recipe: Recipe) -> Variant:
    return compress(load_workload(workload_name), recipe)


@lru_cache(maxsize=256)
def _cost(workload_name: str, recipe: Recipe) -> dict[str, Any]:
    variant = _variant(workload_name, recipe)
    return cost_fields(variant.workload, recipe, variant.model, pack(variant.model, variant.quantized, variant.changes))


@lru_cache(maxsize=16)
def _dense_outputs(workload_name: str, n: int, settings: tuple[tuple[str, OptionValue], ...]) -> Outputs:
    workload = load_workload(workload_name)
    outputs: Outputs = workload.generate(workload.model, 0, n, seed=0, settings=dict(settings))
    return outputs


def _quick_quality(workload_name: str, recipe: Recipe) -> QuickQuality:
    workload = load_workload(workload_name)
    judge = _judge(workload_name)
    drawer = Drawer(workload, seed=0, settings=complete_settings(workload), judge=judge, batch=SHORT_TURN)
    n = QUICK_SAMPLES[workload.metric]
    with _computing:
        model = _variant(workload_name, recipe).model
    dense = _in_turns(drawer.dense(n))
    own = _in_turns(drawer.draw(model, n, what="sampling"))
    return QuickQuality(*judge.quality(own, dense, n_resamples=100))


class _Pages:
    """Whether a page is at work: it goes first, and what fills in behind waits until sliders rest.

    A lock alone would mostly go back to the thread that just released it.
    """

    def __init__(self) -> None:
        self._waiting = 0
        self._last = 0.0
        self._guard = threading.Lock()

    @contextmanager
    def first(self) -> Iterator[None]:
        """The block belongs to a page."""
        with self._guard:
            self._waiting += 1
        try:
            yield
        finally:
            with self._guard:
                self._waiting -= 1
                self._last = time.monotonic()

    def at_rest(self) -> bool:
        """No page waits, and none did in the last moments."""
        return self._waiting == 0 and time.monotonic() - self._last > QUIET_S


_pages = _Pages()


def _in_turns(steps: Generator[Progress, None, Any]) -> Any:
    """Carry a computation out batch by batch, leaving the core to a slider between batches."""
    while True:
        while not _pages.at_rest():
            time.sleep(YIELD_S)
        try:
            with _computing:
                next(steps)
        except StopIteration as finished:
            return finished.value
