"""Whoever holds an advisory lock stops all who wait for it: a role takes those that it needs, and no other."""

import psycopg
import pytest

from service.domain.secrets import Secret
from service.store.database import SqlDatabase, create
from service.store.grants import API, AUTHORITY, CONTAINMENT, KEYS, SCHEDULE
from tests.support.authority import MovedClock
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers
FUNCTIONS = """SELECT pronargs, array_agg(DISTINCT has_function_privilege(oid, 'EXECUTE')) FROM pg_proc
    WHERE proname LIKE '%advisory%lock%' AND proname NOT LIKE '%unlock%' GROUP BY 1 ORDER BY 1"""


@pytest.mark.parametrize(
    ("role", "one_number", "two_numbers"),
    [
        (API, True, False),
        (AUTHORITY, False, True),
        (CONTAINMENT, True, True),
        (KEYS, False, True),
        (SCHEDULE, False, False),
    ],
)
def test_a_role_takes_the_locks_that_it_needs(
    postgres_url: str, role: str, *, one_number: bool, two_numbers: bool
) -> None:
    with psycopg.connect(url_of_role(postgres_url, role)) as connection:
        assert connection.execute(FUNCTIONS).fetchall() == [(1, [one_number]), (2, [two_numbers])]


@pytest.mark.parametrize("name", ["triage", "target:con-a/hot-1", "deliveries", "registry", "audit-sequencer"])
def test_the_api_cannot_stop_workers_by_a_lock(fresh_postgres_url: str, name: str) -> None:
    """Whatever number it holds itself, that of the name too."""
    workers = SqlDatabase(create(Secret(url_of_role(fresh_postgres_url, CONTAINMENT)), pool_size=1), MovedClock())
    with psycopg.connect(url_of_role(fresh_postgres_url, API)) as api, workers.begin() as uow:
        api.execute("SELECT pg_advisory_lock(hashtextextended(%s, 0)), pg_advisory_lock(hashtext(%s))", (name, name))
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            api.execute("SELECT pg_advisory_lock(0, hashtext(%s))", (name,))
        uow.lock(name)
    workers.engine.dispose()
