"""What was found: frozen records that cross every layer. No torch, no store."""

from gencomp_core.records.base import Estimate, Record
from gencomp_core.records.measurement import (
    METHOD_VERSION,
    STAGE_VERSIONS,
    EvaluationRequest,
    Latency,
    LatencyVerdict,
    Measurement,
    Quality,
    Status,
    TensorCost,
)
from gencomp_core.records.metrics import FIDELITIES, FIGURES, METRICS, Better, FidelityFacts, MetricFacts
from gencomp_core.records.progress import Progress, TrainingRecord
from gencomp_core.records.scores import Direction, LayerOption, LayerScore, ScanMethod, ScoreAxis
from gencomp_core.records.search import Screening, Trial, Verdict

__all__ = [
    "FIDELITIES",
    "FIGURES",
    "METHOD_VERSION",
    "METRICS",
    "STAGE_VERSIONS",
    "Better",
    "Direction",
    "Estimate",
    "EvaluationRequest",
    "FidelityFacts",
    "Latency",
    "LatencyVerdict",
    "LayerOption",
    "LayerScore",
    "Measurement",
    "MetricFacts",
    "Progress",
    "Quality",
    "Record",
    "ScanMethod",
    "ScoreAxis",
    "Screening",
    "Status",
    "TensorCost",
    "TrainingRecord",
    "Trial",
    "Verdict",
]
