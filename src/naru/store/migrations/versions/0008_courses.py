"""Distributions under way: their waves survive the server that decided them."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for what servers kept in memory."""
    op.create_table(
        "courses",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("course", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "site", name="pk_courses"),
    )
