"""Errors that a user can act on. Anything else that is raised is a bug and keeps its traceback."""

from collections.abc import Iterable


class GenCompError(Exception):
    """One clear line: the rule, the value, the next step."""


class UnknownNameError(GenCompError):
    """A name that no registry entry has."""


class RecipeError(GenCompError):
    """A recipe that can't be read, or that does not fit the workload."""


class DataError(GenCompError):
    """A data file that is missing or damaged."""


class CheckpointError(GenCompError):
    """Weights that are missing, damaged or of another network."""


class ArtifactError(GenCompError):
    """An artifact folder that is incomplete, changed or that fails its self-test."""


class StoreError(GenCompError):
    """A store that can't be opened or read."""


class EvaluationError(GenCompError):
    """A measurement that can't be made, or whose inputs make no sense."""


class TrainingError(GenCompError):
    """A training configuration or run that can't go on."""


class PlanError(GenCompError):
    """Budgets that no plan keeps, or that nothing is known of.

    Attributes:
        nearest: the least that each of them must be while the others hold, by name.
    """

    def __init__(self, message: str, nearest: Iterable[tuple[str, float]] = ()) -> None:
        super().__init__(message)
        self.nearest = dict(nearest)


class JobError(GenCompError):
    """A job that does not exist, or that can't be started, resumed or cancelled."""


class GridError(GenCompError):
    """A grid of configurations that can't be read, or that does not fit the workload."""


class MissingDependencyError(GenCompError):
    """An optional package that is needed here and not installed."""
