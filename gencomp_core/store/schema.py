"""Tables of the store."""

from sqlalchemy import BigInteger, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, Text

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

pictures = Table(
    "pictures",
    metadata,
    Column("signature", String(16), primary_key=True),
    Column("kind", String, primary_key=True),
    Column("content", LargeBinary, nullable=False),
)

screenings = Table(
    "screenings",
    metadata,
    Column("signature", String(16), primary_key=True),
    Column("workload", String, nullable=False),
    Column("document", Text, nullable=False),
)
