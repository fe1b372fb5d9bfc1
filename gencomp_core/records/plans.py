"""What a plan is asked for, what it chose, and what it says will come of it."""

import hashlib
import json
from typing import Any, Literal

from pydantic import Field

from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records.anchors import Anchor
from gencomp_core.records.base import Record
from gencomp_core.records.footprints import PRICES_VERSION, PriceList
from gencomp_core.records.metrics import Better
from gencomp_core.records.scores import LayerOption, LayerScore
from gencomp_core.records.speed import SpeedBasis

PLANNER_VERSION = "1"
"""Raise when the same scores and budgets now give another plan or another prediction."""

BASIS_VERSION = f"{PLANNER_VERSION}-{PRICES_VERSION}"
"""Of what plans rest on; an older basis is made anew."""

BudgetName = Literal["size_bytes", "latency_ms", "macs", "loss"]
OPTION_OF: dict[str, str] = {
    "size_bytes": "--max-size", "latency_ms": "--max-latency", "macs": "--max-macs", "loss": "--max-loss",
}  # fmt: skip
"""The option of the command line that sets each budget."""


class Loss(Record):
    """How much worse the quality metric may become.

    Attributes:
        value: >= 0.
        unit: `fraction` of the dense quality, or the name of the metric for its own units.
    """

    value: float
    unit: str = "fraction"

    def absolute(self, dense_quality: float) -> float:
        """In units of the metric."""
        return self.value * abs(dense_quality) if self.unit == "fraction" else self.value


class Budgets(Record):
    """What a configuration may cost at most; None for no limit.

    Attributes:
        size_bytes: of the weights file.
        latency_ms: to generate one batch, as the latency model tells.
        runtime: that it holds for; None for the fastest that is known.
        batch: samples together that it holds for.
        macs: multiply-accumulates for one sample.
        loss: of quality; with it, bytes are minimised instead of the loss.
    """

    size_bytes: int | None = None
    latency_ms: float | None = None
    macs: int | None = None
    loss: Loss | None = None
    runtime: str | None = None
    batch: int = 1

    @property
    def given(self) -> dict[BudgetName, float]:
        """Limits on costs that were set, by name; the loss is not among them."""
        names: tuple[BudgetName, ...] = ("size_bytes", "latency_ms", "macs")
        return {name: float(value) for name in names if (value := getattr(self, name)) is not None}


class PredictedQuality(Record):
    """The quality metric that measured configurations of like damage let expect.

    Attributes:
        metric: registered name, such as `fid`.
        better: which direction is better.
        value, low, high: expected, with the interval that new measurements should fall into 19 times of 20.
        change, change_low, change_high: the same against dense.
        dense: measured quality of the dense model.
        n_pairs: measured configurations that the relation was fitted on.
        beyond: whether no measured configuration was damaged as much, so that the figure is a guess.
    """

    metric: str
    better: Better
    value: float
    low: float
    high: float
    change: float
    change_low: float
    change_high: float
    dense: float
    n_pairs: int
    beyond: bool = False


class Prediction(Record):
    """What a recipe is expected to cost and to give, without running it.

    Attributes:
        size_bytes: of the weights file.
        size_is_exact: whether that is what the packer writes, to the byte; otherwise it lies between known options.
        macs: multiply-accumulates for one sample.
        latency_ms: of one batch; None without a latency model.
        latency_low, latency_high: interval that 19 of 20 measurements should fall into, where it is known.
        runtime, batch: that the latency holds for.
        damage: sum of the scan's damages of its layers.
        quality: None while too few configurations were measured to say what damage means.
        note: what is not known, and why.
    """

    size_bytes: int
    size_is_exact: bool
    macs: int
    latency_ms: float | None = None
    latency_low: float | None = None
    latency_high: float | None = None
    runtime: str = "eager"
    batch: int = 1
    damage: float
    quality: PredictedQuality | None = None
    note: str = ""


class LayerChoice(Record):
    """What a plan does to one layer.

    Attributes:
        layer: dotted module name.
        option: what is done.
        damage: that the scan expects of it.
        size_bytes, dense_size_bytes: of the layer's weight, as packed.
    """

    layer: str
    option: LayerOption
    damage: float
    size_bytes: int
    dense_size_bytes: int


class ShadowPrice(Record):
    """What a little more of a budget buys: the plan solved again with it.

    Attributes:
        budget: which.
        step: how much more, in its units.
        damage: how much less damage.
        quality: how much better the metric is expected to be, > 0 is better; None without a relation to damage.
        saved_bytes: how many fewer bytes, where bytes are minimised.
    """

    budget: BudgetName
    step: float
    damage: float
    quality: float | None = None
    saved_bytes: int | None = None


class Plan(Record):
    """One option per layer under budgets.

    Attributes:
        workload, weights_hash: what was planned for.
        budgets: what was asked for.
        minimised: `damage`, or `size_bytes` under an allowed loss.
        recipe: plain form; `gencomp compress --recipe` takes it.
        layers: what is done to each compressible layer, in the order of the model.
        removed: part of the channels that go, by group, which is named after the first layer that makes them.
        predicted: what will come of it.
        binding: the budgets that stop it from being better.
        shadow_prices: what a little more of each of them buys.
        mip_gap: relative distance from the best plan that could not be excluded; 0 when it is the best.
        solve_seconds: the solver took.
        scan: method of the scan that it is based on.
        unscored: layers that the scan does not know, which are left as they are.
        signature: of workload, weights, scores, budgets and planner version.
        planner_version: that made it.
    """

    workload: str
    weights_hash: str
    budgets: Budgets
    minimised: Literal["damage", "size_bytes"]
    recipe: dict[str, Any]
    layers: tuple[LayerChoice, ...]
    removed: dict[str, float] = Field(default_factory=dict)
    predicted: Prediction
    binding: tuple[BudgetName, ...] = ()
    shadow_prices: tuple[ShadowPrice, ...] = ()
    mip_gap: float
    solve_seconds: float
    scan: str
    unscored: tuple[str, ...] = ()
    signature: str
    planner_version: str = PLANNER_VERSION


class KeptPrediction(Record):
    """A prediction as it is kept, to be scored by what is measured later.

    Attributes:
        workload, weights_hash, recipe: what it is about.
        source: whether a plan or a slider made it.
        prediction: what was said.
        planner_version: that said it.
        predicted_at: ISO date and time, UTC.
    """

    workload: str
    weights_hash: str
    recipe: dict[str, Any]
    source: Literal["plan", "slider"]
    prediction: Prediction
    planner_version: str = PLANNER_VERSION
    predicted_at: str

    @property
    def recipe_signature(self) -> str:
        """Signature of the recipe."""
        return Recipe.from_dict(self.recipe).signature

    @property
    def title(self) -> str:
        """The recipe in a few words."""
        return Recipe.from_dict(self.recipe).title()

    @property
    def signature(self) -> str:
        """16 hex digits; equal for the same words about the same recipe, whenever they were said."""
        fields = self.model_dump(exclude={"predicted_at"})
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:16]


class PlanBasis(Record):
    """What plans and predictions of a workload rest on; with it neither weights nor torch are needed.

    Attributes:
        prices: of every layer and option.
        scores: of a scan.
        anchors: what some options of single layers cost at the end of the generation.
        speed: channels, integer inputs and work of layers; None until a plan needs it.
        made_at: ISO date and time, UTC.
        version: of what made it.
    """

    prices: PriceList
    scores: tuple[LayerScore, ...]
    anchors: tuple[Anchor, ...] = ()
    speed: SpeedBasis | None = None
    made_at: str
    version: str
