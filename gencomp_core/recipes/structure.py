"""Stages that remove channels, attention heads or blocks: the weights are gone, not zero."""

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from gencomp_core.recipes.stage import Stage


class WidthPruning(Stage):
    """A stage that removes channels or heads with their weights.

    Attributes:
        units: what they are called.
    """

    units: ClassVar[str]
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"scope", "importance", "refit", "calibration_samples"})

    kind: str
    pruning_ratio: float = Field(ge=0, lt=1, description="fraction of channels or heads removed")
    scope: Literal["layer", "global"] = Field(
        default="layer", description="rank within each width or attention, or over the whole network"
    )
    importance: Literal["magnitude", "taylor", "random"] = Field(
        default="magnitude", description="weights of a unit, gradients on calibration losses, or chance as a control"
    )
    refit: bool = Field(default=True, description="solve the next layers anew by least squares on calibration inputs")
    calibration_samples: int = Field(default=64, ge=1, le=10_000, description="samples for gradients and for the refit")

    @model_validator(mode="after")
    def _one_ranking(self) -> Self:
        if self.scope == "global" and any("skip" not in override for override in self.layers.values()):
            raise ValueError(
                "layers may only skip layers when scope is 'global', because one ranking holds for all. "
                "Use scope: layer, or {skip: true}."
            )
        return self

    def title(self) -> str:
        """A few words for legends and tables."""
        extras: list[str] = [self.scope] if self.scope == "global" else []
        extras += [self.importance] if self.importance != "magnitude" else []
        extras += [] if self.refit else ["no refit"]
        return f"{self.pruning_ratio:.0%} of {self.units} removed" + (f" ({', '.join(extras)})" if extras else "")


class ChannelPruning(WidthPruning):
    """Remove channels, filters and heads with their weights.

    A width is a set of layers that share channels (through additions, norms, concatenations), and shrinks
    in all of them at once. Under `layers`, the ratio of a width is the smallest of the layers that make its
    channels; a skipped layer keeps its shape, and with it every width that it takes part in. Widths that a
    GroupNorm normalises lose equally many channels of each of its groups. A ratio of 0 changes nothing.

    Attributes:
        pruning_ratio: fraction of channels removed from each width, or from all together, in [0, 1).
        scope: rank channels within each width, or over the whole network.
        importance: L2 norm of all weights of a channel; (gradient · weight)² on calibration losses; or
            random numbers, as a control.
        refit: solve the next layers anew by least squares on calibration inputs. Layers that have
            integers or exact zeros already keep them and are only sliced, embeddings too.
        calibration_samples: samples of the workload for gradients and for the refit.
    """

    source: ClassVar[str] = (
        "Dependency groups: Fang 2023 (arXiv:2301.12900); L2: Li 2017 (arXiv:1608.08710); Taylor: Molchanov 2019 "
        "(arXiv:1906.10771); least squares: He 2017 (arXiv:1707.06168)"
    )
    units: ClassVar[str] = "channels"

    kind: Literal["channel-pruning"] = "channel-pruning"


class HeadPruning(WidthPruning):
    """Remove whole attention heads.

    Queries, keys, values and the projection lose a head's channels together; one head stays in each
    attention. A ratio of 0 changes nothing.

    Attributes:
        pruning_ratio: fraction of heads removed from each attention, or from all together, in [0, 1).
        scope: rank heads within each attention, or over the whole network.
        importance: L2 norm of all weights of a head; (gradient · weight)² on calibration losses; or
            random numbers, as a control.
        refit: solve the projection anew by least squares on calibration inputs. Layers that have
            integers or exact zeros already keep them and are only sliced.
        calibration_samples: samples of the workload for gradients and for the refit.
    """

    source: ClassVar[str] = (
        "Michel 2019 (arXiv:1905.10650); Taylor: Molchanov 2019 (arXiv:1906.10771); least squares: He 2017 "
        "(arXiv:1707.06168)"
    )
    units: ClassVar[str] = "heads"

    kind: Literal["head-pruning"] = "head-pruning"


class BlockRemoval(Stage):
    """Remove whole blocks whose absence changes the output least.

    A block is a part with as wide an output as its input, beside which the input is added: residual and
    attention blocks, Transformer layers. Those of `n_blocks` are found one after the other: each time the
    block whose removal leaves the output on calibration inputs closest to the dense model's. A block with
    a layer that is skipped under `layers` stays.

    Attributes:
        n_blocks: how many to remove.
        blocks: which to remove, by name, in place of `n_blocks`.
        calibration_samples: samples of the workload that the output is compared on.
    """

    source: ClassVar[str] = "ShortGPT, Men 2024 (arXiv:2403.03853); BK-SDM, Kim 2023 (arXiv:2305.15798)"
    exclusive_fields: ClassVar[tuple[frozenset[str], ...]] = (frozenset({"n_blocks", "blocks"}),)
    whole_stage_fields: ClassVar[frozenset[str]] = frozenset({"n_blocks", "blocks", "calibration_samples"})

    kind: Literal["block-removal"] = "block-removal"
    n_blocks: int | None = Field(default=None, ge=1, le=1000, description="how many blocks to remove")
    blocks: list[str] = Field(default_factory=list, description="names of the blocks to remove, instead of a number")
    calibration_samples: int = Field(default=32, ge=1, le=10_000, description="samples that the output is compared on")

    @model_validator(mode="after")
    def _one_choice(self) -> Self:
        if (self.n_blocks is None) == (not self.blocks):
            got = f"n_blocks {self.n_blocks} and blocks {self.blocks}"
            raise ValueError(f"must say either n_blocks or blocks, got {got}. Write one of them.")
        if len(set(self.blocks)) < len(self.blocks):
            raise ValueError(f"must name each of blocks once, got {self.blocks}. Remove the repeated one.")
        return self

    def title(self) -> str:
        """A few words for legends and tables."""
        if self.blocks:
            return "without " + ", ".join(self.blocks)
        return f"{self.n_blocks} block{'s' if self.n_blocks != 1 else ''} removed"
