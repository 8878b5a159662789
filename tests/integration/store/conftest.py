"""One database per test, on one connection."""

from collections.abc import Iterator

import pytest

from service.clock import SystemClock
from service.domain.secrets import Secret
from service.store.database import SqlDatabase, create


@pytest.fixture
def db(fresh_postgres_url: str) -> Iterator[SqlDatabase]:
    database = SqlDatabase(create(Secret(fresh_postgres_url), pool_size=1), SystemClock())
    yield database
    database.engine.dispose()
