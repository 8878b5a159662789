"""API tokens by id, for the authenticator, with the person each belongs to."""

from sqlalchemy import Row, select
from sqlalchemy.engine import Engine
from sqlalchemy.exc import SQLAlchemyError

from service.domain.errors import UnavailableError
from service.store.database import begun
from service.store.tables.access import api_tokens
from service.store.tables.registry import people


def find_token(engine: Engine, token_id: str) -> Row[tuple[object, ...]] | None:
    """Return a token's row with its person's state and roles, or None. Raises UnavailableError without a database."""
    query = (
        select(api_tokens, people.c.state.label("person_state"), people.c.roles.label("person_roles"))
        .outerjoin(people, people.c.id == api_tokens.c.person_id)
        .where(api_tokens.c.id == token_id)
    )
    try:
        with begun(engine, "SELECT 1") as (connection, _):
            return connection.execute(query).first()
    except SQLAlchemyError as error:
        raise UnavailableError("tokens cannot be looked up now; try again", retry_after_s=2) from error
