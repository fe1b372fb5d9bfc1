"""How many steps of tuning fit into some minutes on this machine: recipes count steps, people count minutes."""

from gencomp_core.errors import RecipeError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.recipes.recovery import TuningStage
from gencomp_core.variant import compress
from gencomp_core.workloads.base import Workload

PROBE_STEPS = 6


def steps_in(minutes: float, workload: Workload, recipe: Recipe, *, seed: int = 0) -> int:
    """Steps of the recipe's last stage that take so many CPU-minutes, its checks included; at least one.

    Its first six steps are carried out once; the stages before it are applied for that.

    Raises:
        RecipeError: the last stage does not train.
    """
    stage = recipe.stages[-1] if recipe.stages else None
    if not isinstance(stage, TuningStage):
        kind = stage.kind if stage else "no stage"
        raise RecipeError(
            f"Minutes can be given to a stage that trains only, got {kind}. End the recipe with fine-tune."
        )
    probe = stage.model_copy(update={"steps": PROBE_STEPS, "checks": 1})
    before = recipe.stages[:-1]
    curve = compress(workload, Recipe.model_validate({"stages": (*before, probe)}), seed=seed).curves[-1]
    a_check = curve[0].seconds
    a_step = max(curve[-1].seconds - 2 * a_check, 1e-6) / PROBE_STEPS
    left = 60 * minutes - (stage.checks + 1) * a_check
    return max(1, int(left / a_step))
