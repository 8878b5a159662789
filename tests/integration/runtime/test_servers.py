import os
import subprocess
from pathlib import Path

import psycopg
import pytest
import redis

from tests.support.servers import SoftHsm

pytestmark = pytest.mark.servers


def test_postgres_is_durable_by_default_and_has_no_tcp_listener(empty_postgres_url: str) -> None:
    with psycopg.connect(empty_postgres_url) as connection:
        settings: dict[str, str] = dict(connection.execute("SELECT name, setting FROM pg_settings").fetchall())
    assert settings["listen_addresses"] == ""
    assert settings["synchronous_commit"] == "on"
    assert settings["server_encoding"] == "UTF8"
    assert settings["wal_segment_size"] == str(4 * 1024 * 1024), "a commit waits while a new segment is made"


def test_postgres_refuses_a_wrong_password(empty_postgres_url: str) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(empty_postgres_url.replace("test-only", "guess"))


def test_valkey_keeps_what_it_is_told_and_wants_the_password(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        client.set("a", "b")
        assert client.get("a") == b"b"
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    stranger = redis.Redis.from_url(redis_url.replace("test-only", "guess"))
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.get("a")


def test_a_test_starts_with_an_empty_redis(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_softhsm_has_a_store_of_its_own(softhsm: SoftHsm) -> None:
    assert softhsm.module.is_file()
    assert os.environ["SOFTHSM2_CONF"] == str(softhsm.configuration)
    assert str(softhsm.folder) in softhsm.configuration.read_text()
    assert Path(softhsm.folder).stat().st_mode & 0o077 == 0
    done = subprocess.run(["softhsm2-util", "--show-slots"], capture_output=True, text=True, check=False)
    assert "Slot" in done.stdout
