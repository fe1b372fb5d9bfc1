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
from gencomp_core.records.scores import (
    SCAN_VERSION,
    Direction,
    LayerOption,
    LayerScore,
    RankCorrelation,
    Scan,
    ScanMethod,
    ScanReport,
    ScanRequest,
    ScoreAxis,
)

__all__ = [
    "FIDELITIES",
    "FIGURES",
    "METHOD_VERSION",
    "METRICS",
    "SCAN_VERSION",
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
    "RankCorrelation",
    "Record",
    "Scan",
    "ScanMethod",
    "ScanReport",
    "ScanRequest",
    "ScoreAxis",
    "Status",
    "TensorCost",
    "TrainingRecord",
]
