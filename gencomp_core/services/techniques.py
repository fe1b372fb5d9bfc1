"""Every recipe stage with its schema, for listings and the Methods page. No torch."""

import inspect
from typing import Any

import yaml

from gencomp_core.charts.theme import family
from gencomp_core.recipes.stage import Stage
from gencomp_core.recipes.stages import STAGES

EXAMPLES: dict[str, dict[str, Any]] = {
    "adaptive-pruning": {"max_output_change": 0.05},
    "gradient-pruning": {"criterion": "taylor"},
    "float-format": {"format": "nf4"},
    "block-removal": {"n_blocks": 1},
}
"""Values of required fields that no default of their type stands for."""
USUAL: dict[str, Any] = {"sparsity": 0.5, "pruning_ratio": 0.3, "bits": 4}


def technique_table() -> list[dict[str, Any]]:
    """One row per stage: kind, family, one line of help, more about it, source, fields, example, JSON schema."""
    return [
        {
            "kind": kind,
            "family": family([kind]),
            "help": _documentation(stage)[0],
            "about": _documentation(stage)[1],
            "source": stage.source,
            "fields": _fields(stage),
            "example": yaml.safe_dump({"stages": [example(kind)]}, sort_keys=False),
            "schema": stage.model_json_schema(),
        }
        for kind, stage in STAGES.items()
    ]


def example(kind: str) -> dict[str, Any]:
    """A valid stage of this kind in its plain form, with the fields that it must have."""
    required = {name for name, field in STAGES[kind].model_fields.items() if field.is_required()}
    usual = {name: value for name, value in USUAL.items() if name in required}
    return {"kind": kind, **usual, **EXAMPLES.get(kind, {})}


def _documentation(stage: type[Stage]) -> tuple[str, str]:
    """First line and the paragraphs before the attributes, of the stage's docstring."""
    first, _, rest = inspect.cleandoc(stage.__doc__ or "").partition("\n")
    return first, rest.partition("Attributes:")[0].strip()


def _fields(stage: type[Stage]) -> list[dict[str, str]]:
    """Name, meaning and default of every field."""
    return [
        {
            "field": name,
            "meaning": field.description or "",
            "default": "required" if field.is_required() else str(field.default),
        }
        for name, field in stage.model_fields.items()
        if name not in ("kind", "layers")
    ]
