"""Sensitivity scans, and the scores of their layers."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "scans",
        sa.Column("signature", sa.String(16), primary_key=True),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("method", sa.String, nullable=False),
        sa.Column("direction", sa.String, nullable=False),
        sa.Column("origin", sa.String, nullable=False),
        sa.Column("measured_at", sa.String, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("scans_by_workload", "scans", ["workload", "method"])
    op.create_table(
        "layer_scores",
        sa.Column("signature", sa.String(16), sa.ForeignKey("scans.signature", ondelete="CASCADE"), primary_key=True),
        sa.Column("layer", sa.String, primary_key=True),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("positions", sa.Text, nullable=False),
    )
