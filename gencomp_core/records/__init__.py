"""What was found: frozen records that cross every layer. No torch, no store."""

from gencomp_core.records.base import Estimate, Record
from gencomp_core.records.jobs import (
    ACTIVE,
    RESUMABLE,
    Failure,
    Job,
    JobProgress,
    JobState,
    Study,
    WorkerIdentity,
    job_signature,
)
from gencomp_core.records.measurement import (
    METHOD_VERSION,
    STAGE_VERSIONS,
    EvaluationRequest,
    Latency,
    LatencyVerdict,
    Measurement,
    Quality,
    RuntimeQuality,
    RuntimeVerdict,
    Status,
    TensorCost,
)
from gencomp_core.records.metrics import FIDELITIES, FIGURES, METRICS, Better, FidelityFacts, MetricFacts
from gencomp_core.records.progress import Progress, TrainingRecord
from gencomp_core.records.scores import Direction, LayerOption, LayerScore, ScanMethod, ScoreAxis

__all__ = [
    "ACTIVE",
    "FIDELITIES",
    "FIGURES",
    "METHOD_VERSION",
    "METRICS",
    "RESUMABLE",
    "STAGE_VERSIONS",
    "Better",
    "Direction",
    "Estimate",
    "EvaluationRequest",
    "Failure",
    "FidelityFacts",
    "Job",
    "JobProgress",
    "JobState",
    "Latency",
    "LatencyVerdict",
    "LayerOption",
    "LayerScore",
    "Measurement",
    "MetricFacts",
    "Progress",
    "Quality",
    "Record",
    "RuntimeQuality",
    "RuntimeVerdict",
    "ScanMethod",
    "ScoreAxis",
    "Status",
    "Study",
    "TensorCost",
    "TrainingRecord",
    "WorkerIdentity",
    "job_signature",
]
