"""The planner against all combinations, and its bytes against the file on disk."""

from collections.abc import Iterator
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from gencomp_core.analysis.planning import knapsack
from gencomp_core.analysis.planning.damage import Damages
from gencomp_core.analysis.planning.instance import Instance, LatencyModel
from gencomp_core.analysis.planning.planner import make_plan
from gencomp_core.analysis.planning.pricing import price_list
from gencomp_core.artifact.packing import pack
from gencomp_core.errors import PlanError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import LayerOption
from gencomp_core.records.plans import Budgets
from gencomp_core.variant import compress
from gencomp_core.workloads.base import Workload
from tests.made_scores import finished, scores_by_squared_error
from tests.tiny import Made, TinyDiffusion, TinyGAN, TinyVAE, TinyVerses, noise, randomise_

WORKLOADS = {cls.name: cls for cls in (TinyDiffusion, TinyGAN, TinyVAE, TinyVerses)}


class Stack(Made):
    """Three layers as an image workload, small enough for all combinations of options."""

    modality = "image"
    options = ()
    weights_hash = "0" * 16

    def __init__(self) -> None:
        network = nn.Sequential(nn.Linear(40, 30), nn.ReLU(), nn.Linear(30, 50), nn.ReLU(), nn.Linear(50, 12))
        super().__init__(randomise_(network, 3), noise(4, 40))

    def generate(self, model: nn.Module, start: int, stop: int, **_: object) -> Tensor:
        found: Tensor = model(self.x)
        return found


OPTIONS = [
    LayerOption(sparsity=0.5), LayerOption(sparsity=0.8), LayerOption(bits=8), LayerOption(bits=4, group_size=16),
    LayerOption(bits=3), LayerOption(bits=2, group_size=16, symmetric=False), LayerOption(sparsity=0.5, bits=4),
]  # fmt: skip


def instance(workload: Workload, *, options: list[LayerOption] = OPTIONS, seed: int = 0) -> Instance:
    damages = Damages.of(scores_by_squared_error(workload, options, seed=seed))
    menu = [own for layer in damages.layers.values() for own in layer.options]
    return Instance(finished(price_list(workload, menu)), damages)


@st.composite
def knapsacks(draw: st.DrawFn) -> tuple[list[np.ndarray], dict[str, list[np.ndarray]], dict[str, float]]:
    n_costs = draw(st.integers(1, 3))
    sizes = draw(st.lists(st.integers(1, 5), min_size=1, max_size=5))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spread = draw(st.sampled_from([1.0, 6.0]))
    objective = [10 ** rng.uniform(-spread, spread, n) * rng.integers(0, 2, n) for n in sizes]
    costs = {f"cost {number}": [rng.integers(1, 1000, n).astype(float) for n in sizes] for number in range(n_costs)}
    limits = {}
    for name, own in costs.items():
        least, most = sum(column.min() for column in own), sum(column.max() for column in own)
        limits[name] = float(np.floor(least + draw(st.floats(-0.1, 1.0)) * (most - least)))
    return objective, costs, limits


def by_trying_all(
    objective: list[np.ndarray], costs: dict[str, list[np.ndarray]], limits: dict[str, float]
) -> float | None:
    every = product(*(range(len(own)) for own in objective))
    keeps = (own for own in every if all(knapsack.total(costs[name], own) <= limit for name, limit in limits.items()))
    return min((knapsack.total(objective, own) for own in keeps), default=None)


@settings(max_examples=120, deadline=None)
@given(made=knapsacks())
def test_no_combination_is_better_than_the_solvers(
    made: tuple[list[np.ndarray], dict[str, list[np.ndarray]], dict[str, float]],
) -> None:
    objective, costs, limits = made
    best, found = by_trying_all(*made), knapsack.solve(*made)
    assert (found is None) == (best is None)
    if found is not None:
        assert knapsack.total(objective, found.options) == pytest.approx(best, rel=1e-9, abs=1e-12)
        assert all(knapsack.total(costs[name], found.options) <= limit for name, limit in limits.items())
        assert found.gap <= 1e-9


@pytest.fixture(scope="module")
def small() -> Instance:
    return instance(
        Stack(), options=[LayerOption(sparsity=0.6), LayerOption(bits=5), LayerOption(bits=2, group_size=4)]
    )


def files(made: Instance) -> Iterator[tuple[int, float]]:
    """Bytes and damage of every combination."""
    for chosen in product(*(range(len(own)) for own in made.options)):
        yield made.exact_bytes(chosen), made.total("damage", chosen)


@settings(max_examples=15, deadline=None)
@given(share=st.floats(0.0, 1.0))
def test_no_recipe_whose_file_fits_is_damaged_less(small: Instance, share: float) -> None:
    every = list(files(small))
    least, most = min(size for size, _ in every), max(size for size, _ in every)
    budget = int(least + share * (most - least))
    found = make_plan(small, Budgets(size_bytes=budget)).predicted
    assert found.size_bytes <= budget
    within_padding = min(damage for size, damage in every if size <= budget - 16) if budget > least + 16 else np.inf
    assert found.damage <= within_padding * (1 + 1e-9) + 1e-15


@pytest.mark.parametrize("name", WORKLOADS)
def test_predicted_bytes_are_those_of_the_packed_file(name: str) -> None:
    workload = WORKLOADS[name]()
    made = instance(workload)
    dense = make_plan(made, Budgets(size_bytes=10**9)).predicted.size_bytes
    assert dense == pack(workload.model, {}).size_bytes
    for share in (0.4, 0.2):
        budget = int(dense * share)
        plan = make_plan(made, Budgets(size_bytes=budget))
        variant = compress(workload, Recipe.from_dict(plan.recipe))
        assert plan.predicted.size_bytes == pack(variant.model, variant.quantized).size_bytes
        assert plan.predicted.size_bytes <= budget
        assert plan.binding == ("size_bytes",)


def test_a_budget_that_the_smallest_plan_just_keeps_is_kept_and_one_byte_less_is_refused(small: Instance) -> None:
    smallest = min(size for size, _ in files(small))
    assert make_plan(small, Budgets(size_bytes=smallest)).predicted.size_bytes == smallest
    with pytest.raises(PlanError) as refused:
        make_plan(small, Budgets(size_bytes=smallest - 1))
    assert refused.value.nearest == {"size_bytes": smallest}


def test_several_budgets_are_kept_together(small: Instance) -> None:
    per_byte = {
        (layer.layer, own.option): own.footprint.n_bytes for layer in small.prices.layers for own in layer.options
    }
    slow = LatencyModel(lambda layer, option: 1.0 if option.is_nothing else 2.0 + per_byte[layer, option] * 1e-4, 3.0)
    made = Instance(small.prices, small.damages, slow)
    every = [
        (made.exact_bytes(own), made.total("latency_ms", own), made.total("damage", own))
        for own in product(*(range(len(own)) for own in made.options))
    ]
    budgets = Budgets(size_bytes=sorted(size for size, *_ in every)[len(every) // 3], latency_ms=13.5)
    found = make_plan(made, budgets).predicted
    assert found.size_bytes <= budgets.size_bytes
    assert found.latency_ms <= 13.5
    loose = make_plan(made, Budgets(size_bytes=budgets.size_bytes, latency_ms=1e6))
    assert loose.binding == ("size_bytes",)
    best = min(damage for size, ms, damage in every if size <= budgets.size_bytes - 16 and ms <= 13.5)
    assert found.damage <= best * (1 + 1e-9)


@given(
    st.lists(st.tuples(*[st.integers(0, 6).map(float)] * 2, st.sampled_from([1.0, 2.0, 5.0])), min_size=1, max_size=40)
)
def test_quick_ways_to_drop_options_keep_all_that_none_beats(rows: list[tuple[float, float, float]]) -> None:
    objective, cost, stepped = np.array(rows).T
    for kept, costs in (
        (knapsack._undominated(objective, [cost]), [cost]),
        (knapsack._undominated(objective, [cost, stepped]), [cost, stepped]),
    ):
        table = np.stack([objective, *costs], axis=1)
        assert len(set(map(tuple, table[kept].tolist()))) == len(kept)
        for row in table:
            assert (table[kept] <= row).all(axis=1).any()
