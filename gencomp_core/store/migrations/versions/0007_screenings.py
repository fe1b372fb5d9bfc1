"""Screenings of a search."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "screenings",
        sa.Column("signature", sa.String(16), primary_key=True),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )
