"""Alembic's entry: one online run in one transaction, with a lock timeout so that a migration never queues the service.

Rights are not history: after every upgrade to the newest schema they are what `store/grants.py` says, no more and no less.
"""

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from service.store.grants import statements
from service.store.tables.all import metadata


def run() -> None:
    """Run the migrations on the URL that `store/migrate.py` passed."""
    engine = create_engine(context.config.attributes["url"], poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SET lock_timeout = '5s'"))
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()
            if context.get_context().get_current_heads() == tuple(context.script.get_heads()):
                for statement in statements(tuple(t.name for t in metadata.sorted_tables)):
                    connection.execute(text(statement))
        connection.commit()
    engine.dispose()


run()
