"""Measurements, their latencies, and pictures."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "measurements",
        sa.Column("signature", sa.String(16), primary_key=True),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("conditions", sa.String, nullable=False),
        sa.Column("title", sa.String, nullable=False),
        sa.Column("stage_kinds", sa.String, nullable=False),
        sa.Column("recipe_signature", sa.String(16), nullable=False),
        sa.Column("status", sa.String, nullable=False),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("size_bytes", sa.Integer, nullable=False),
        sa.Column("dense_size_bytes", sa.Integer, nullable=False),
        sa.Column("sparsity", sa.Float, nullable=False),
        sa.Column("effective_bits", sa.Float, nullable=False),
        sa.Column("macs", sa.BigInteger, nullable=False),
        sa.Column("metric", sa.String),
        sa.Column("quality", sa.Float),
        sa.Column("quality_low", sa.Float),
        sa.Column("quality_high", sa.Float),
        sa.Column("quality_change", sa.Float),
        sa.Column("change_low", sa.Float),
        sa.Column("change_high", sa.Float),
        sa.Column("n_samples", sa.Integer, nullable=False),
        sa.Column("measured_at", sa.String, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("measurements_by_workload", "measurements", ["workload", "conditions"])
    op.create_table(
        "latencies",
        sa.Column(
            "signature",
            sa.String(16),
            sa.ForeignKey("measurements.signature", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("machine", sa.String, primary_key=True),
        sa.Column("runtime", sa.String, primary_key=True),
        sa.Column("batch", sa.Integer, primary_key=True),
        sa.Column("threads", sa.Integer, primary_key=True),
        sa.Column("median_ms", sa.Float, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_table(
        "pictures",
        sa.Column("signature", sa.String(16), primary_key=True),
        sa.Column("kind", sa.String, primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    for table in ("pictures", "latencies", "measurements"):
        op.drop_table(table)
