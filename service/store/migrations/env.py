"""Alembic's entry: one online run in one transaction, with a lock timeout so that a migration never queues the service."""

from alembic import context
from sqlalchemy import create_engine, text
from sqlalchemy.pool import NullPool

from service.store.tables.all import metadata


def run() -> None:
    """Run the migrations on the URL that `store/migrate.py` passed."""
    engine = create_engine(context.config.attributes["url"], poolclass=NullPool)
    with engine.connect() as connection:
        connection.execute(text("SET lock_timeout = '5s'"))
        context.configure(connection=connection, target_metadata=metadata)
        with context.begin_transaction():
            context.run_migrations()
        connection.commit()
    engine.dispose()


run()
