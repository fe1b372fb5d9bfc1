"""Measurements made by hand, for stores and pages that need many of them at no cost."""

from typing import Any

from gencomp_core.records import (
    Estimate,
    EvaluationRequest,
    Failure,
    Job,
    Latency,
    Measurement,
    Quality,
    RuntimeQuality,
    TensorCost,
    WorkerIdentity,
    job_signature,
)
from gencomp_core.runtime_env import machine
from tests.tiny import recipe

DENSE_BYTES = 1_000_000
DENSE_FID = 10.0


def latency(**changes: Any) -> Latency:
    """An eager latency of this machine that ties with dense."""
    fields: dict[str, Any] = {
        "runtime": "eager",
        "batch": 1,
        "threads": 1,
        "median_ms": 2.0,
        "low_ms": 1.9,
        "high_ms": 2.1,
        "n_runs": 15,
        "dense_median_ms": 2.0,
        "dense_eager_median_ms": 2.0,
        "ratio": 1.0,
        "ratio_low": 0.99,
        "ratio_high": 1.01,
        "noise_low": 0.95,
        "noise_high": 1.05,
        "verdict": "tie",
        "busy": False,
        "machine": str(machine()["processor"]),
        "measured_at": "2026-01-01T00:00:00+00:00",
    }
    return Latency(**(fields | changes))


def runtime_quality(**changes: Any) -> RuntimeQuality:
    """Quality in OpenVINO on this machine that is the same as simulated."""
    fields: dict[str, Any] = {
        "runtime": "openvino",
        "ran": "int8 × 4",
        "quality": quality(DENSE_FID),
        "change": Estimate(value=0.0, low=-0.1, high=0.1),
        "change_to_simulated": Estimate(value=0.0, low=-0.1, high=0.1),
        "agreement": {"psnr_db": Estimate(value=45.0, low=44.0, high=46.0)},
        "tolerance": 0.2,
        "verdict": "same",
        "size_bytes": 300_000,
        "machine": str(machine()["processor"]),
        "versions": {"openvino": "0"},
        "measured_at": "2026-01-01T00:00:00+00:00",
    }
    return RuntimeQuality(**(fields | changes))


def quality(value: float, *, n_samples: int = 1000) -> Quality:
    """FID with an interval of ±0.5."""
    return Quality(
        metric="fid",
        name=f"FID (made up, n={n_samples})",
        value=value,
        low=value - 0.5,
        high=value + 0.5,
        n_samples=n_samples,
        better="lower",
        noise_floor=1.0,
    )


def measurement(
    *stages: dict[str, Any],
    size_bytes: int = DENSE_BYTES,
    fid: float | None = DENSE_FID,
    workload: str = "fashion-vae",
    n_samples: int = 1000,
    **changes: Any,
) -> Measurement:
    """A measurement of a recipe; without `fid` it failed."""
    chosen = recipe(*stages)
    request = EvaluationRequest(
        workload=workload,
        weights_hash="0123456789abcdef",
        recipe=chosen.to_dict(),
        seed=0,
        n_samples=n_samples,
        settings={"temperature": 1.0},
    )
    found: dict[str, Any] = {}
    if fid is not None:
        shift = fid - DENSE_FID
        psnr = Estimate(value=30.0, low=29.0, high=31.0)
        found = {
            "quality": quality(fid, n_samples=n_samples),
            "dense_quality": quality(DENSE_FID, n_samples=n_samples),
            "quality_change": Estimate(value=shift, low=shift - 0.1, high=shift + 0.1),
            "fidelity": {"psnr_db": psnr},
            "latency": (latency(),),
        }
    fields: dict[str, Any] = {
        "workload": workload,
        "signature": request.signature,
        "title": chosen.title(),
        "recipe": chosen.to_dict(),
        "request": request,
        "status": "failed" if fid is None else "measured",
        "reason": "the metric was not finite" if fid is None else None,
        "size_bytes": size_bytes,
        "dense_size_bytes": DENSE_BYTES,
        "n_params": DENSE_BYTES // 4,
        "n_nonzero": DENSE_BYTES // 4,
        "sparsity": 0.0,
        "effective_bits": 32 * size_bytes / DENSE_BYTES,
        "macs": 1_000_000,
        "tensors": (
            TensorCost(
                name="out.weight",
                coding="dense",
                bits=32,
                n_values=DENSE_BYTES // 4,
                n_zeros=0,
                n_bytes=size_bytes,
                overhead_bytes=0,
                dense_bytes=DENSE_BYTES,
            ),
        ),
        "machine": {"processor": "made up"},
        "versions": {"torch": "0"},
        "measured_at": "2026-01-01T00:00:00+00:00",
        "seconds": 1.0,
    }
    return Measurement(**(fields | found | changes))


WORKER = WorkerIdentity(host="here", pid=4711, created=1_700_000_000.25)


def job(*, job_id: str = "0a1b2c3d", kind: str = "sweep", **changes: Any) -> Job:
    """A queued job; `parameters` decide its signature."""
    parameters = {"workload": "fashion-vae", "samples": 60} | changes.pop("parameters", {})
    fields: dict[str, Any] = {
        "id": job_id,
        "kind": kind,
        "workload": parameters["workload"],
        "parameters": parameters,
        "signature": job_signature(kind, parameters),
        "created_at": 1_700_000_000.5,
        "command": f"python -m gencomp_core {kind} {parameters['workload']}",
        "folder": "/somewhere",
    }
    return Job(**(fields | changes))


def failure(*stages: dict[str, Any], reason: str = "the metric was not finite", **changes: Any) -> Failure:
    """A measurement that could not be made."""
    made = measurement(*stages)
    fields = {name: getattr(made, name) for name in ("signature", "workload", "title", "recipe", "request")}
    return Failure(**(fields | {"reason": reason, "failed_at": "2026-01-01T00:00:00+00:00"} | changes))
