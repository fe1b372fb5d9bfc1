"""Quality of the samples of other runtimes."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "runtime_qualities",
        sa.Column(
            "signature",
            sa.String(16),
            sa.ForeignKey("measurements.signature", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("machine", sa.String, primary_key=True),
        sa.Column("runtime", sa.String, primary_key=True),
        sa.Column("quality", sa.Float, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("runtime_qualities")
