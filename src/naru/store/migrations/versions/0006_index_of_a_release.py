"""The index of its image's files that a release names."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make room for what agents say first."""
    op.add_column("releases", sa.Column("index_digest", sa.Text(), nullable=False, server_default=""))
