"""Every recipe stage with its schema, for listings and the Methods page."""

from typing import Any

from gencomp_core.recipes.stages import STAGES


def technique_table() -> list[dict[str, Any]]:
    """One row per stage: kind, one line of help, source, JSON schema of its fields."""
    return [
        {
            "kind": kind,
            "help": (stage.__doc__ or "").strip().splitlines()[0],
            "source": stage.source,
            "schema": stage.model_json_schema(),
        }
        for kind, stage in STAGES.items()
    ]
