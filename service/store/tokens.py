"""API tokens by id, for the authenticator."""

from sqlalchemy import Row, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.domain.errors import UnavailableError
from service.store.tables.access import api_tokens


def find_token(engine: Engine, token_id: str) -> Row[tuple[object, ...]] | None:
    """Return a token's row, or None. Raises UnavailableError when the database is not there."""
    try:
        with engine.connect() as connection:
            return connection.execute(select(api_tokens).where(api_tokens.c.id == token_id)).first()
    except SQLAlchemyError as error:
        raise UnavailableError("tokens cannot be looked up now; try again", retry_after_s=2) from error
