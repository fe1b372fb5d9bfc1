"""Numbers inside of stored JSON documents, found by the database."""

from typing import Any

from sqlalchemy import JSON, ColumnElement, Float, cast, func


def number_at(column: ColumnElement[Any], path: tuple[str, ...], *, dialect: str) -> ColumnElement[Any]:
    """The number at a path of keys in a column of JSON text; null where there is none.

    Args:
        path: keys without quotes in them.
        dialect: name of the database.
    """
    if dialect == "postgresql":
        return cast(func.json_extract_path_text(cast(column, JSON), *path), Float)
    return func.json_extract(column, "$." + ".".join(f'"{key}"' for key in path))
