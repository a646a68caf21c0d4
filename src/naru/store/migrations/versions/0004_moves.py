"""Rollouts that bring an app from one target to another."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Keep which target an app leaves."""
    op.add_column("rollouts", sa.Column("source", sa.Text(), server_default="", nullable=False))
