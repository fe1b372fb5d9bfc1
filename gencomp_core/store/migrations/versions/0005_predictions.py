"""Predictions, and what plans rest on."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "predictions",
        sa.Column("signature", sa.String(16), primary_key=True),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("recipe_signature", sa.String(16), nullable=False),
        sa.Column("predicted_at", sa.String, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
    op.create_index("predictions_by_workload", "predictions", ["workload", "recipe_signature"])
    op.create_table(
        "plan_bases",
        sa.Column("workload", sa.String, primary_key=True),
        sa.Column("weights_hash", sa.String, primary_key=True),
        sa.Column("version", sa.String, nullable=False),
        sa.Column("made_at", sa.String, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )


def downgrade() -> None:
    for table in ("plan_bases", "predictions"):
        op.drop_table(table)
