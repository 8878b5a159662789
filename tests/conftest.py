"""Fixtures every test may ask for. Servers start only when a test asks, once per pytest process."""

import os
import sys
import tempfile
from collections.abc import Generator, Iterator
from typing import Any

import pytest
import structlog
from hypothesis import HealthCheck, settings

from tests.support.measuring import save, unmeasured
from tests.support.one_stack import OneStackScheduling
from tests.support.scratch import scratch
from tests.support.servers import (
    PostgresForTests,
    SoftHsm,
    empty_redis,
    patience_with_databases,
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


def _log_plainly() -> None:
    """Write exceptions as Python does: structlog's own way draws every frame's locals, seconds for one of FastAPI's."""
    plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


_log_plainly()

# The same examples in every run, and no limit that a busy machine can miss. HYPOTHESIS_PROFILE=explore draws new ones.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
settings.register_profile("repeatable", settings.get_profile("explore"), derandomize=True, database=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))

# Also for pytest's own folders and for the programs that tests start.
os.environ["TMPDIR"] = tempfile.tempdir = str(scratch())


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresForTests]:
    """The PostgreSQL server of this pytest process."""
    with patience_with_databases(), running_postgres() as server:
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


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None]:
    """Measure no test that says it repeats itself."""
    if item.get_closest_marker("repeats") is None:
        yield
    else:
        with unmeasured():
            yield


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Save what was measured while nobody waits for this process to end."""
    save()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneStackScheduling | None:
    """Under `--dist loadscope`, keep what shares one installation together."""
    return OneStackScheduling(config, log) if config.getoption("dist", "no") == "loadscope" else None
