"""Tables of the store."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

metadata = MetaData()

measurements = Table(
    "measurements",
    metadata,
    Column("signature", String(16), primary_key=True),
    Column("workload", String, nullable=False),
    Column("conditions", String, nullable=False),  # what must be equal for two measurements to be compared
    Column("title", String, nullable=False),
    Column("stage_kinds", String, nullable=False),  # comma-separated, in order; empty for dense
    Column("recipe_signature", String(16), nullable=False),
    Column("status", String, nullable=False),
    Column("origin", String, nullable=False),  # "demo" or "local"
    Column("size_bytes", Integer, nullable=False),
    Column("dense_size_bytes", Integer, nullable=False),
    Column("sparsity", Float, nullable=False),
    Column("effective_bits", Float, nullable=False),
    Column("macs", BigInteger, nullable=False),
    Column("metric", String),
    Column("quality", Float),
    Column("quality_low", Float),
    Column("quality_high", Float),
    Column("quality_change", Float),
    Column("change_low", Float),
    Column("change_high", Float),
    Column("n_samples", Integer, nullable=False),
    Column("measured_at", String, nullable=False),
    Column("document", Text, nullable=False),
    Index("measurements_by_workload", "workload", "conditions"),
)

latencies = Table(
    "latencies",
    metadata,
    Column("signature", String(16), ForeignKey("measurements.signature", ondelete="CASCADE"), primary_key=True),
    Column("machine", String, primary_key=True),
    Column("runtime", String, primary_key=True),
    Column("batch", Integer, primary_key=True),
    Column("threads", Integer, primary_key=True),
    Column("median_ms", Float, nullable=False),
    Column("document", Text, nullable=False),
)

runtime_qualities = Table(
    "runtime_qualities",
    metadata,
    Column("signature", String(16), ForeignKey("measurements.signature", ondelete="CASCADE"), primary_key=True),
    Column("machine", String, primary_key=True),
    Column("runtime", String, primary_key=True),
    Column("quality", Float, nullable=False),
    Column("document", Text, nullable=False),
)

pictures = Table(
    "pictures",
    metadata,
    Column("signature", String(16), primary_key=True),
    Column("kind", String, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

predictions = Table(
    "predictions",
    metadata,
    Column("signature", String(16), primary_key=True),
    Column("workload", String, nullable=False),
    Column("recipe_signature", String(16), nullable=False),
    Column("predicted_at", String, nullable=False),
    Column("document", Text, nullable=False),
    Index("predictions_by_workload", "workload", "recipe_signature"),
)

plan_bases = Table(
    "plan_bases",
    metadata,
    Column("workload", String, primary_key=True),
    Column("weights_hash", String, primary_key=True),
    Column("version", String, nullable=False),
    Column("made_at", String, nullable=False),
    Column("content", LargeBinary, nullable=False),  # JSON, deflated
)

jobs = Table(
    "jobs",
    metadata,
    Column("id", String(8), primary_key=True),
    Column("kind", String, nullable=False),
    Column("workload", String, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("signature", String(16), nullable=False),
    Column("active_signature", String(16), unique=True),  # the signature while active, then null: one active job each
    Column("state", String, nullable=False),
    Column("created_at", Double, nullable=False),
    Column("started_at", Double),
    Column("ended_at", Double),
    Column("heartbeat_at", Double),
    Column("progress", Text),
    Column("message", Text, nullable=False),
    Column("worker_host", String),
    Column("worker_pid", Integer),
    Column("worker_created", Double),
    Column("cancel_requested", Boolean, nullable=False),
    Column("command", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("result", Text),
    Index("jobs_by_signature", "signature"),
    Index("jobs_by_state", "state"),
)

studies = Table(
    "studies",
    metadata,
    Column("id", String(16), primary_key=True),
    Column("name", String, nullable=False),
    Column("purpose", String, nullable=False),
    Column("workload", String, nullable=False),
    Column("parameters", Text, nullable=False),
    Column("created_at", Double, nullable=False),
)

study_members = Table(
    "study_members",
    metadata,
    Column("study", String(16), ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
    Column("signature", String(16), primary_key=True),
    Column("position", Integer, nullable=False),
)

failures = Table(
    "failures",
    metadata,
    Column("signature", String(16), primary_key=True),
    Column("workload", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("failed_at", String, nullable=False),
    Column("document", Text, nullable=False),
)

scans = Table(
    "scans",
    metadata,
    Column("signature", String(16), primary_key=True),
    Column("workload", String, nullable=False),
    Column("method", String, nullable=False),
    Column("direction", String, nullable=False),
    Column("origin", String, nullable=False),  # "demo" or "local"
    Column("measured_at", String, nullable=False),
    Column("document", Text, nullable=False),
    Index("scans_by_workload", "workload", "method"),
)

layer_scores = Table(
    "layer_scores",
    metadata,
    Column("signature", String(16), ForeignKey("scans.signature", ondelete="CASCADE"), primary_key=True),
    Column("layer", String, primary_key=True),
    Column("document", Text, nullable=False),  # scores over the whole generation
    Column("positions", Text, nullable=False),  # those of single positions, which are many and seldom read
)

screenings = Table(
    "screenings",
    metadata,
    Column("signature", String(16), primary_key=True),
    Column("workload", String, nullable=False),
    Column("document", Text, nullable=False),
)
