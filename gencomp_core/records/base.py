"""What all records are: frozen, strict about names, JSON in and out."""

from pydantic import BaseModel, ConfigDict


class Record(BaseModel):
    """Base of all records: frozen, strict about names, JSON in and out."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Estimate(Record):
    """A number with its 95 % interval."""

    value: float
    low: float
    high: float
