"""Which options a scan asks for, and the recipe that carries one out. No torch."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from gencomp_core.errors import EvaluationError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.records import Direction, LayerOption, ScoreAxis
from gencomp_core.registry import suggestion

SPARSITIES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BITS = (8, 7, 6, 5, 4, 3, 2)
PRUNING_RATIOS = (0.125, 0.25, 0.5, 0.75)
JOINT_SPARSITIES = (0.3, 0.5, 0.7)
JOINT_BITS = (8, 4, 3, 2)
AXES: tuple[ScoreAxis, ...] = ("sparsity", "bits", "pruning_ratio", "joint")

Levels = Mapping[str, Sequence[float]]


def options_for(
    axes: Collection[str], *, levels: Levels | None = None, group_sizes: Sequence[int | None] = (None,)
) -> list[LayerOption]:
    """The options of some axes, mild ones first within each; those of `joint` with its single effects.

    Args:
        axes: keys of `AXES`.
        levels: in place of the usual ones, by axis; `joint` takes those of `sparsity` and `bits`.
        group_sizes: weights that share a scale, for every width; None is one scale a channel.

    Raises:
        EvaluationError: an unknown axis, or a level that is out of range.
    """
    for axis in axes:
        if axis not in AXES:
            close = suggestion(axis, list(AXES))
            raise EvaluationError(f"--axis must be one of {', '.join(AXES)}, got {axis!r}.{close}")
    given = levels or {}
    joint = "joint" in axes
    sparsities = given.get("sparsity", SPARSITIES if "sparsity" in axes else ())
    widths = given.get("bits", BITS if "bits" in axes else ())
    found: list[LayerOption] = []
    if "sparsity" in axes:
        found += [LayerOption(sparsity=_fraction(level, "sparsity")) for level in sorted(sparsities)]
    if "bits" in axes:
        found += _rounded(sorted(widths, reverse=True), group_sizes)
    if "pruning_ratio" in axes:
        ratios = sorted(given.get("pruning_ratio", PRUNING_RATIOS))
        found += [LayerOption(pruning_ratio=_fraction(level, "pruning_ratio")) for level in ratios]
    if joint:
        zeroed = [LayerOption(sparsity=_fraction(own, "sparsity")) for own in given.get("sparsity", JOINT_SPARSITIES)]
        rounded = _rounded(given.get("bits", JOINT_BITS), group_sizes)
        both = [own.model_copy(update={"sparsity": other.sparsity}) for other in zeroed for own in rounded]
        found += [*zeroed, *rounded, *both]
    return list(dict.fromkeys(found))


def read_levels(pairs: Sequence[str]) -> dict[str, list[float]]:
    """Levels by axis, from AXIS=LEVEL,LEVEL,... as typed.

    Raises:
        EvaluationError: another axis, or what is no number.
    """
    levels: dict[str, list[float]] = {}
    for pair in pairs:
        axis, _, text = pair.partition("=")
        try:
            numbers = [float(part) for part in text.split(",")]
        except ValueError:
            numbers = []
        if axis not in ("sparsity", "bits", "pruning_ratio") or not numbers:
            raise EvaluationError(f"--levels must be AXIS=LEVEL,LEVEL,..., got {pair!r}. Write for example bits=8,4,3.")
        levels[axis] = numbers
    return levels


def recipe_of(option: LayerOption, layers: Collection[str], *, direction: Direction = "only-this") -> Recipe:
    """Recipe that does an option to these layers and nothing else, or to all but these.

    Args:
        layers: one layer; of removed channels, all layers that make them.
    """
    stages: list[dict[str, Any]] = []
    if option.pruning_ratio:
        removal = _kept_to(layers, {"pruning_ratio": option.pruning_ratio}, direction)
        stages.append({"kind": "channel-pruning", **removal})
    if option.sparsity:
        pruning = _kept_to(layers, {"sparsity": option.sparsity}, direction)
        stages.append({"kind": "magnitude-pruning", "scope": "layer", **pruning})
    if option.bits is not None:
        fields = {"bits": option.bits, "symmetric": option.symmetric, "clipping": option.clipping}
        fields |= {"group_size": option.group_size} if option.group_size else {}
        stages.append({"kind": "weight-quantization", **_kept_to(layers, fields, direction)})
    return Recipe.from_dict({"stages": stages})


def _kept_to(layers: Collection[str], fields: Mapping[str, Any], direction: Direction) -> dict[str, Any]:
    """Fields of a stage that is kept to some layers, or away from them.

    An exact name wins over a glob. Channels are kept by a ratio of 0, since a skipped layer keeps those that it reads.
    """
    name, value = next(iter(fields.items()))
    by_ratio = name == "pruning_ratio"
    left_alone = {name: 0.0} if by_ratio else {"skip": True}
    if direction == "all-but-this":
        return {**fields, "layers": {layer: dict(left_alone) for layer in layers}}
    chosen = {layer: {name: value} for layer in layers}
    return {**fields, name: 0.0, "layers": chosen} if by_ratio else {**fields, "layers": {"*": left_alone, **chosen}}


def _rounded(widths: Sequence[float], group_sizes: Sequence[int | None]) -> list[LayerOption]:
    for bits in widths:
        if bits not in range(1, 9):
            raise EvaluationError(f"--levels of bits must be whole numbers from 1 to 8, got {bits:g}. Choose inside.")
    return [LayerOption(bits=int(bits), group_size=size) for size in group_sizes for bits in widths]


def _fraction(level: float, axis: str) -> float:
    if not 0 < level < 1:
        raise EvaluationError(
            f"--levels of {axis} must lie between 0 and 1, got {level:g}. It is a fraction: write 0.5 for 50 %."
        )
    return float(level)
