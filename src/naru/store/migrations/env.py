"""Alembic's entry: runs revisions on the connection that naru.store.migrations hands over."""

from alembic import context

from naru.store.schema import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
with context.begin_transaction():
    context.run_migrations()
