"""What every table shares: the naming of constraints and the column of a moment.

Conventions: text ids from `domain/ids.py`; `timestamptz` everywhere; USD as `numeric`; JSON bodies that are digested are
`text` (their exact bytes matter), other JSON is `jsonb`; raw bodies are `bytea` because writing jsonb costs twice as
much. Partial indexes cover only what a sweeper looks for. Which database role may write what is in `store/grants.py`.
"""

from datetime import datetime

from sqlalchemy import Column, DateTime, MetaData

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
    }
)


def when(name: str, *, nullable: bool = True) -> Column[datetime]:
    """Return a column for a moment in UTC."""
    return Column(name, DateTime(timezone=True), nullable=nullable)
