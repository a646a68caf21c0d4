"""The history of the tables, one revision a file in versions/, written by hand; a test compares them to the schema.

Migrations expand, then contract: a revision may not take away what the version before it still uses, because
replicas of both run side by side during an update.
"""

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from naru.domain.errors import Conflict


def configuration(connection: sa.Connection) -> Config:
    """Return Alembic's configuration for a connection that is inside a transaction."""
    config = Config()
    config.set_main_option("script_location", "naru.store:migrations")
    config.attributes["connection"] = connection
    return config


def migrate(connection: sa.Connection) -> None:
    """Bring the database to the newest revision; raise Conflict when a newer Naru has taken it further."""
    config = configuration(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in known:
        raise Conflict(
            f"the database is at revision {current}, which a newer version of Naru made",
            "start that version, or restore a backup from before the update",
        )
    command.upgrade(config, "head")
