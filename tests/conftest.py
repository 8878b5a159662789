"""Fixtures every test may ask for. Servers start only when a test asks, once per pytest process."""

import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.one_stack import OneStackScheduling
from tests.support.servers import (
    PostgresForTests,
    SoftHsm,
    empty_redis,
    running_postgres,
    running_valkey,
    softhsm_folder,
)


def _keep_recursion_limit() -> None:
    """Import eth-account once and undo what it does to the process.

    A library below it raises the recursion limit to 100,000, where hostile nesting ends in a crash of the interpreter
    instead of the RecursionError that users get.
    """
    limit = sys.getrecursionlimit()
    import eth_account  # noqa: F401, PLC0415  imported for its side effect, which is undone here

    sys.setrecursionlimit(limit)


_keep_recursion_limit()


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresForTests]:
    """The PostgreSQL server of this pytest process."""
    with running_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def postgres_url(postgres: PostgresForTests) -> Iterator[str]:
    """Superuser URL of a fresh, migrated database: one per test module. `url_of_role` gives a runtime role's URL."""
    url = postgres.migrated_database()
    yield url
    postgres.drop(url)


@pytest.fixture
def fresh_postgres_url(postgres: PostgresForTests) -> Iterator[str]:
    """As postgres_url, but one database per test."""
    url = postgres.migrated_database()
    yield url
    postgres.drop(url)


@pytest.fixture(scope="module")
def empty_postgres_url(postgres: PostgresForTests) -> Iterator[str]:
    """Superuser URL of a database without any table."""
    url = postgres.empty_database()
    yield url
    postgres.drop(url)


@pytest.fixture(scope="session")
def valkey_url() -> Iterator[str]:
    """URL of the Valkey server of this pytest process."""
    with running_valkey() as server:
        yield server.url()


@pytest.fixture
def redis_url(valkey_url: str) -> str:
    """URL of a Redis-protocol server that remembers nothing of other tests."""
    empty_redis(valkey_url)
    return valkey_url


@pytest.fixture(scope="session")
def softhsm() -> Iterator[SoftHsm]:
    """An empty SoftHSM2 token store. SOFTHSM2_CONF is set for this process, because the module reads it once."""
    with softhsm_folder() as found:
        before = os.environ.get("SOFTHSM2_CONF")
        os.environ["SOFTHSM2_CONF"] = str(found.configuration)
        yield found
        if before is None:
            del os.environ["SOFTHSM2_CONF"]
        else:
            os.environ["SOFTHSM2_CONF"] = before


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneStackScheduling | None:
    """Under `--dist loadscope`, keep what shares one installation together."""
    return OneStackScheduling(config, log) if config.getoption("dist", "no") == "loadscope" else None
