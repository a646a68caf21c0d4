"""Nodes with agents, and how images went to them."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for what agents report."""
    op.create_table(
        "nodes",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("report", sa.JSON(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_nodes"),
    )
    op.create_index("ix_nodes_site", "nodes", ["site"], unique=False)
    op.create_table(
        "distributions",
        sa.Column("rollout", sa.Text(), nullable=False),
        sa.Column("site", sa.Text(), nullable=False),
        sa.Column("begun_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("distribution", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("rollout", "site", name="pk_distributions"),
    )
    op.create_index("ix_distributions_begun_at", "distributions", ["begun_at"], unique=False)
