"""Jobs, studies, and measurements that failed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "jobs",
        sa.Column("id", sa.String(8), primary_key=True),
        sa.Column("kind", sa.String, nullable=False),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("signature", sa.String(16), nullable=False),
        sa.Column("active_signature", sa.String(16), unique=True),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("started_at", sa.Double),
        sa.Column("ended_at", sa.Double),
        sa.Column("heartbeat_at", sa.Double),
        sa.Column("progress", sa.Text),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("worker_host", sa.String),
        sa.Column("worker_pid", sa.Integer),
        sa.Column("worker_created", sa.Double),
        sa.Column("cancel_requested", sa.Boolean, nullable=False),
        sa.Column("command", sa.Text, nullable=False),
        sa.Column("folder", sa.Text, nullable=False),
        sa.Column("result", sa.Text),
    )
    op.create_index("jobs_by_signature", "jobs", ["signature"])
    op.create_index("jobs_by_state", "jobs", ["state"])
    op.create_table(
        "studies",
        sa.Column("id", sa.String(16), primary_key=True),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("purpose", sa.String, nullable=False),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("parameters", sa.Text, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
    )
    op.create_table(
        "study_members",
        sa.Column("study", sa.String(16), sa.ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("signature", sa.String(16), primary_key=True),
        sa.Column("position", sa.Integer, nullable=False),
    )
    op.create_table(
        "failures",
        sa.Column("signature", sa.String(16), primary_key=True),
        sa.Column("workload", sa.String, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("failed_at", sa.String, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
    )


def downgrade() -> None:
    for table in ("failures", "study_members", "studies", "jobs"):
        op.drop_table(table)
