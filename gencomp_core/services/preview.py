"""What a slider shows at once: same-seed samples and exact bytes of a recipe, simulated in memory.

Nothing here is kept in the store: a preview is fake-quantized and judged on few samples.
"""

import threading
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from torch import Tensor

from gencomp_core.analysis.measurement import cost_fields, estimate
from gencomp_core.analysis.samples import Drawer
from gencomp_core.artifact.packing import pack
from gencomp_core.charts.tiles import tile
from gencomp_core.evaluate import fid as fid_metric
from gencomp_core.evaluate.features import feature_spaces
from gencomp_core.evaluate.fidelity import psnr
from gencomp_core.evaluate.intervals import centred_interval
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Estimate, Progress
from gencomp_core.services.background import Background, Key, Work
from gencomp_core.variant import Variant, compress
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import OptionValue, Settings, complete_settings

QUICK_SAMPLES = 500
SHORT_TURN = 5
YIELD_S = 0.005
QUIET_S = 1.2
_computing = threading.Lock()  # one computation at a time: two would only take turns on the same cores
_behind = Background()
_sampler = ThreadPoolExecutor(1, thread_name_prefix="preview")  # a new thread would start its OpenMP pool anew
_beside = ThreadPoolExecutor(1, thread_name_prefix="cost")


@dataclass(frozen=True, eq=False)
class Preview:
    """Samples of one recipe beside the dense ones.

    Attributes:
        compressed, dense: (h, w) uint8 sheets of the same numbered samples.
        n_samples: how many samples each holds.
        settings: sampling settings that made them.
        psnr_db: mean peak signal-to-noise ratio of the pairs.
        cost: bytes, zeros and bits, exact (`cost_fields`).
        seconds: it took.
    """

    compressed: np.ndarray
    dense: np.ndarray
    n_samples: int
    settings: dict[str, OptionValue]
    psnr_db: float
    cost: dict[str, Any]
    seconds: float


@dataclass(frozen=True)
class QuickQuality:
    """FID over few samples, with dense at the same seeds.

    Attributes:
        name: printed name with feature space and sample count.
        value, dense, change: of the recipe, of dense, and their paired difference.
        noise_floor: of real images at the same count.
    """

    name: str
    value: Estimate
    dense: Estimate
    change: Estimate
    noise_floor: float | None


def preview(workload: str, recipe: Recipe) -> Preview:
    """A few same-seed samples of a recipe and of dense, at once.

    Raises:
        RecipeError: the recipe names a layer that the workload does not have.
    """
    with _pages.first(), _computing:
        return _sampler.submit(_preview, workload, recipe).result()


def fill_in(workload: str, recipe: Recipe, *, owner: str) -> "tuple[Future[Preview], Future[QuickQuality]]":
    """More samples at the default settings, and FID over 500, computed by a thread behind the page.

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


@lru_cache(maxsize=64)
def _preview(workload_name: str, recipe: Recipe) -> Preview:
    started = time.perf_counter()
    workload = load_workload(workload_name)
    plan = workload.preview
    settings = complete_settings(workload, plan.settings)
    model = _variant(workload_name, recipe).model
    cost = _beside.submit(_cost, workload_name, recipe)  # packing takes half as long as sampling
    images = workload.generate(model, 0, plan.n_samples, seed=0, settings=settings)
    cost.result()
    dense = _dense_images(workload_name, plan.n_samples, tuple(settings.items()))
    return _pair(workload_name, recipe, images, dense, settings, started)


def _full_preview(workload_name: str, recipe: Recipe) -> Preview:
    started = time.perf_counter()
    workload = load_workload(workload_name)
    settings = complete_settings(workload)
    drawer = Drawer(workload, seed=0, settings=settings, space=feature_spaces["fashion"], batch=SHORT_TURN)
    n = workload.preview.n_samples_full
    dense = _in_turns(drawer.dense(n)).images
    with _computing:
        model = _variant(workload_name, recipe).model
    images = _in_turns(drawer.draw(model, n, what="sampling")).images
    with _computing:
        return _pair(workload_name, recipe, images, dense, settings, started)


def _pair(
    workload_name: str, recipe: Recipe, images: Tensor, dense: Tensor, settings: dict[str, OptionValue], started: float
) -> Preview:
    return Preview(
        compressed=tile(images.numpy()),
        dense=tile(dense.numpy()),
        n_samples=len(images),
        settings=settings,
        psnr_db=psnr(images, dense).mean().item(),
        cost=_cost(workload_name, recipe),
        seconds=time.perf_counter() - started,
    )


@lru_cache(maxsize=4)
def _variant(workload_name: str, recipe: Recipe) -> Variant:
    return compress(load_workload(workload_name), recipe)


@lru_cache(maxsize=256)
def _cost(workload_name: str, recipe: Recipe) -> dict[str, Any]:
    variant = _variant(workload_name, recipe)
    return cost_fields(variant.workload, recipe, variant.model, pack(variant.model, variant.quantized))


@lru_cache(maxsize=16)
def _dense_images(workload_name: str, n: int, settings: tuple[tuple[str, OptionValue], ...]) -> Tensor:
    workload = load_workload(workload_name)
    return workload.generate(workload.model, 0, n, seed=0, settings=dict(settings))


def _quick_quality(workload_name: str, recipe: Recipe) -> QuickQuality:
    workload = load_workload(workload_name)
    space = feature_spaces["fashion"]
    settings: Settings = complete_settings(workload)
    drawer = Drawer(workload, seed=0, settings=settings, space=space, batch=SHORT_TURN)
    with _computing:
        model = _variant(workload_name, recipe).model
    dense = _in_turns(drawer.dense(QUICK_SAMPLES)).features
    own = _in_turns(drawer.draw(model, QUICK_SAMPLES, what="sampling")).features
    real = space.reference()
    values = [fid_metric.fid(features, real) for features in (own, dense)]
    replicates = [fid_metric.fid_replicates(features, real, n_resamples=100) for features in (own, dense)]
    return QuickQuality(
        name=f"FID ({space.title}, n={QUICK_SAMPLES})",
        value=estimate(centred_interval(values[0], replicates[0])),
        dense=estimate(centred_interval(values[1], replicates[1])),
        change=estimate(centred_interval(values[0] - values[1], replicates[0] - replicates[1])),
        noise_floor=fid_metric.noise_floor(real, QUICK_SAMPLES),
    )


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
