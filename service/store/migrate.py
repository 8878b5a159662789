"""Bring a database to the newest schema, or say where it stands. Runs as the owner role only.

Imports Alembic, 10 MB that no process at work needs: `database.py` does not import this file.
"""

from importlib.resources import files

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from service.store.database import driver_url


def _config(url: str) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("service.store") / "migrations"))
    config.attributes["url"] = url
    return config


def upgrade(url: str) -> None:
    """Migrate the database at `url` (owner rights needed) to the newest revision. Raises what the driver raises."""
    command.upgrade(_config(driver_url(url)), "head")


def revisions(url: str) -> tuple[str | None, str | None]:
    """Return (revision of the database, newest revision known to this code)."""
    engine = create_engine(driver_url(url), poolclass=NullPool)
    try:
        with engine.connect() as connection:
            current = MigrationContext.configure(connection).get_current_revision()
    finally:
        engine.dispose()
    return current, ScriptDirectory.from_config(_config(driver_url(url))).get_current_head()
