"""A disk that really fills up under PostgreSQL: senders are told 503, nothing is half stored, and all goes on afterwards."""

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.runtime.accounts import server_account
from service.runtime.postgres import EmbeddedPostgres, PostgresPlace
from tests.support.intake import SECRET, World, add_account, add_connection, encoded, running, signed, withdrawal
from tests.support.servers import PASSWORD, PostgresForTests, short_folder

pytestmark = pytest.mark.servers
SIZE_MB = 400
PATIENCE = 600


@pytest.fixture
def small_disk() -> Iterator[Path]:
    account = server_account("portcullis-postgres")
    with short_folder(account) as folder:
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE_MB}m", "tmpfs", str(folder)], capture_output=True, check=False
        )
        if mounted.returncode != 0:
            pytest.skip("a small disk can be mounted by root alone; the store's own test covers the error")
        account.own(folder)
        yield folder
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def url(small_disk: Path) -> Iterator[str]:
    account = server_account("portcullis-postgres")
    place = PostgresPlace(small_disk / "data", small_disk / "s", small_disk / "log", account, durable=True)
    server = EmbeddedPostgres(place, PASSWORD)
    server.start()
    try:
        found = PostgresForTests(server).migrated_database()
        add_connection(found, "std", "standard", {}, {"webhook_secret.0": SECRET})
        add_account(found, "std", "hot-1")
        yield found
    finally:
        server.stop()


def test_a_disk_that_fills_up(url: str, small_disk: Path) -> None:
    async def tell(world: World, number: int) -> httpx.Response:
        body = encoded(withdrawal(number, timestamp="2026-01-01T00:00:00Z", device="d" * 200))
        return await world.client.post("/webhooks/std", content=body, headers=signed(f"msg_{number}", body))

    async def play() -> None:
        async with running(url) as world:
            assert (await tell(world, 0)).status_code == 200
            taken, filler = {"msg_0"}, small_disk / "filler"
            fill(filler)
            refused = None
            for number in range(1, PATIENCE * 10):
                answer = await tell(world, number)
                if answer.status_code != 200:
                    refused = answer
                    break
                taken.add(f"msg_{number}")
                fill(filler)
            assert refused is not None, "the disk was never full"
            assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
            assert int(refused.headers["retry-after"]) >= 1
            filler.unlink()
            again = await tell(world, number)
            for _ in range(PATIENCE):
                if again.status_code == 200:
                    break
                assert again.status_code == 503, again.text
                await asyncio.sleep(0.1)
                again = await tell(world, number)
            assert again.json()["status"] == "scored"
            stored = {row["event_id"] for row in world.rows("SELECT event_id FROM activities")}
            assert stored == taken | {f"msg_{number}"}
            assert world.count("learning", "kind = 'activity'") == len(stored)

    asyncio.run(play())


def fill(filler: Path) -> None:
    """Take all the space that is left."""
    descriptor = os.open(filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        while os.write(descriptor, bytes(1024 * 1024)):
            pass
    except OSError:
        pass
    finally:
        os.close(descriptor)
