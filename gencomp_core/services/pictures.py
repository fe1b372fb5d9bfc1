"""The recorded pictures of the Methods page: what a stage did to a bundled model. No torch."""

from pathlib import Path
from typing import Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from gencomp_core.data.assets import check_asset
from gencomp_core.errors import DataError
from gencomp_core.runtime_env import ASSETS

FOLDER = ASSETS / "methods"
COMMAND = "python -m tools.record_methods"
Cell = float | int | str | None
COLUMNS = {
    "map": {"series", "row", "column", "value"},
    "histograms": {"series", "x", "width", "value"},
    "ranking": {"series", "x", "value"},
    "lines": {"series", "x", "value"},
    "points": {"series", "x", "value"},
    "dots": {"series", "name", "value"},
}
"""What the table of each view holds, as `charts/methods.py` draws it."""


class Picture(BaseModel):
    """One chart of what a stage does, with the data behind it.

    Attributes:
        view: how it is drawn, a key of `charts.methods.VIEWS`.
        title: what is shown.
        x_title, y_title: of the axes, with units.
        caption: what to see in it, with figures from the recording.
        conditions: workload, layer, recipe and seed.
        columns: the table, column by column; None is a gap.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    view: Literal["map", "histograms", "ranking", "lines", "points", "dots"]
    title: str
    x_title: str
    y_title: str = ""
    caption: str
    conditions: str
    columns: dict[str, list[Cell]]

    @model_validator(mode="after")
    def _is_table(self) -> "Picture":
        lengths = {len(column) for column in self.columns.values()}
        if self.columns.keys() != COLUMNS[self.view] or len(lengths) != 1:
            raise ValueError(f"a picture of {self.view} must have equally long columns {sorted(COLUMNS[self.view])}")
        return self

    @property
    def table(self) -> pd.DataFrame:
        """The data, as the view takes it."""
        return pd.DataFrame(self.columns)


class Recording(BaseModel):
    """The pictures of one stage.

    Attributes:
        weights: hash of the weights that each workload had.
        pictures: in the order in which they are shown.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weights: dict[str, str]
    pictures: tuple[Picture, ...]


def path_of(kind: str, folder: Path | None = None) -> Path:
    """File of a stage's pictures."""
    return (folder or FOLDER) / f"{kind}.json"


def recorded_pictures(kind: str) -> tuple[Picture, ...]:
    """Pictures of a stage; none before they were recorded.

    Raises:
        DataError: the file is damaged or was made by another version.
    """
    path = path_of(kind)
    if not path.exists():
        return ()
    check_asset(path)
    try:
        return Recording.model_validate_json(path.read_bytes()).pictures
    except ValidationError as error:
        reason = error.errors()[0]["msg"]
        raise DataError(f"{path} holds no pictures ({reason}). Record them again: {COMMAND} {kind}.") from None
