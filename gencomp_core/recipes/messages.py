"""Turn pydantic's and PyYAML's findings into one line: place, rule, value, next step."""

import json
import math
from typing import Any

import yaml
from pydantic_core import ErrorDetails

from gencomp_core.recipes.stages import STAGES
from gencomp_core.registry import suggestion

FRACTIONS = ("sparsity", "pruning_ratio", "max_sparsity")


def describe_yaml(error: yaml.YAMLError) -> str:
    """One line: what the parser stumbled over, and where."""
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    place = f" in line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    return f"is not valid YAML{place}: {problem}. Correct that line."


def _place(location: tuple[int | str, ...]) -> str:
    """('stages', 0, 'magnitude-pruning', 'sparsity') -> 'stages[0].sparsity'."""
    text = ""
    for position, part in enumerate(location):
        if isinstance(part, int):
            text += f"[{part}]"
        elif not (part in STAGES and position == 2):
            text += f".{part}" if text else part
    return text


def describe(errors: list[ErrorDetails]) -> str:
    """One line for the most telling of pydantic's errors: place, rule, value, next step."""
    misspelt = [error for error in errors if error["type"] == "extra_forbidden"]
    return _describe((misspelt or errors)[0])


def _describe(error: ErrorDetails, under: tuple[int | str, ...] = ()) -> str:
    location, value, context = error["loc"], error["input"], error.get("ctx", {})
    if error["type"] == "override":
        nested: ErrorDetails = context["nested"]
        kind_location = (*location[:3], *nested["loc"])
        return _describe({**nested, "loc": kind_location}, under=("layers", context["pattern"]))
    place, name = _place((*location[:3], *under, *location[3:])), str(location[-1])
    if name == "[key]":
        return f"{_place(location[:-2])} must be keyed by layer names, got {value!r}. Quote the key."
    match error["type"]:
        case "union_tag_not_found":
            return f"{place} must say its 'kind', got {_shown(value)}. Add one of: kind: {', '.join(STAGES)}."
        case "union_tag_invalid":
            tag = str(context["tag"])
            return f"{place}.kind must be one of {', '.join(STAGES)}, got {tag!r}.{suggestion(tag, list(STAGES))}"
        case "extra_forbidden":
            known = _known_fields(location)
            hint = suggestion(name, known)
            return f"{place} is no field here, got {_shown(value)}.{hint} Known fields: {', '.join(known)}."
        case "missing":
            return f"{place} is missing. Add a line '{name}: ...'{_range_of(location)}."
        case "value_error":
            message = str(context["error"])
            return _nested(place, message)
        case "less_than" | "less_than_equal" | "greater_than" | "greater_than_equal":
            return f"{place} must be {_allowed(location)}, got {_shown(value)}.{_remedy(name, value)}"
        case "literal_error":
            allowed = str(context["expected"])
            names = [part.strip(" '") for part in allowed.replace(" or ", ", ").split(",")]
            return f"{place} must be {allowed}, got {_shown(value)}.{suggestion(str(value), names)}"
        case "finite_number":
            return f"{place} must be a finite number, got {_shown(value)}.{_remedy(name, value)}"
        case kind if kind.endswith("_type") or kind == "int_from_float":
            wanted = {"int": "a whole number", "float": "a number", "bool": "true or false"}.get(
                kind.split("_")[0], f"a {'mapping' if 'dict' in kind or 'model' in kind else 'list'}"
            )
            return f"{place} must be {wanted}, got {_shown(value)}.{_type_remedy(value)}"
        case _:
            return f"{place}: {error['msg']}, got {_shown(value)}."


def _nested(place: str, message: str) -> str:
    """A stage's own message; one about `layers` already begins with its place."""
    if message.startswith(("layers", "a key of layers")):
        separator = ": " if message.startswith("a ") else "."
        return f"{place}{separator}{message}"
    return f"{place} {message}"


def _known_fields(location: tuple[int | str, ...]) -> list[str]:
    kind = location[2] if len(location) > 2 else None
    return list(STAGES[str(kind)].model_fields) if kind in STAGES else ["stages"]


def _bounds(location: tuple[int | str, ...]) -> dict[str, float]:
    kind, name = (location[2], location[-1]) if len(location) > 3 else (None, None)
    if kind not in STAGES or name not in STAGES[str(kind)].model_fields:
        return {}
    bounds = {}
    for rule in STAGES[str(kind)].model_fields[str(name)].metadata:
        for key in ("ge", "gt", "le", "lt"):
            if getattr(rule, key, None) is not None:
                bounds[key] = getattr(rule, key)
    return bounds


def _allowed(location: tuple[int | str, ...]) -> str:
    bounds = _bounds(location)
    low = f"[{bounds['ge']}" if "ge" in bounds else f"({bounds.get('gt', '-∞')}"
    high = f"{bounds['le']}]" if "le" in bounds else f"{bounds.get('lt', '∞')})"
    return f"in {low}, {high}"


def _range_of(location: tuple[int | str, ...]) -> str:
    return f" with a value {_allowed(location)}" if _bounds(location) else ""


def _remedy(name: str, value: Any) -> str:
    if name in FRACTIONS and value == 1:
        return " Nothing would be left: write 0.99 to keep 1 %."
    if name in FRACTIONS and isinstance(value, int | float) and 1 < value <= 100 and math.isfinite(value):
        return f" It is a fraction: write {min(value, 99) / 100:g} for {value:g} %."
    if name == "bits":
        return " Weights take 1 to 8 bits, activations 4 to 8; leave the stage out to keep floats."
    return " Choose a value in that range."


def _type_remedy(value: Any) -> str:
    if isinstance(value, str):
        try:
            float(value)
        except ValueError:
            return " Correct the value."
        return " Remove the quotes."
    return " Correct the value."


def _shown(value: Any) -> str:
    try:
        text = json.dumps(value, default=str, ensure_ascii=False)
    except (ValueError, TypeError):  # a list that holds itself, or keys that are no text
        text = f"a {yaml_type(value)}"
    return text if len(text) <= 60 else text[:57] + "..."


def yaml_type(value: Any) -> str:
    """Word for the type of a YAML value."""
    return {list: "list", str: "text", int: "number", float: "number", bool: "truth value"}.get(type(value), "value")
