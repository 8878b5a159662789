"""What people decided gets its place in the sequence, in order, and replay needs nothing else."""

import asyncio
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from rules.loader import DEFAULT_DIRECTORY, load_directory
from rules.settings import EngineSettings
from service.domain.blinding import Suppression
from service.domain.ids import new_id
from tests.support.intake import (
    DETECTORS,
    SECRET,
    World,
    add_account,
    add_connection,
    encoded,
    running,
    seed,
    signed,
    verified,
    withdrawal,
)

pytestmark = pytest.mark.servers
ASK = "INSERT INTO learning_requests (kind, subject, payload, created_at) VALUES (%s, %s, %s, now())"


@pytest.fixture(scope="module", autouse=True)
def std(postgres_url: str) -> None:
    add_connection(postgres_url, "std", "standard", {}, {"webhook_secret": SECRET})
    add_account(postgres_url, "std", "hot-1")


async def sent(world: World, name: str, **changes: Any) -> None:
    body = encoded(withdrawal(int(name), **changes))
    answer = await world.client.post("/webhooks/std", content=body, headers=signed(name, body))
    assert answer.status_code < 300, answer.text


def test_suppressions_settings_and_verdicts_get_their_places_and_replay_agrees(postgres_url: str) -> None:
    quiet = Suppression(
        id=new_id("sup"),
        entity="account:std/hot-1",
        detector=next(iter(DETECTORS)).id,
        owner="per_1",
        reason="A test.",
        expires_at=datetime.now(UTC) + timedelta(days=1),
    )
    verdict = {
        "activity": "act_1",
        "alert": "alr_1",
        "verdict": "true_positive",
        "detectors": [quiet.detector],
        "account": "std/hot-1",
        "destination": "eip155:1:0x" + "9" * 40,
        "occurred_at_us": 1,
        "known_at_us": 2,
        "score": 4.5,
    }
    settings = EngineSettings(salt="test", hold_p=1e-6, alerts_per_day=20.0)
    asked = [
        ("suppression", quiet.id, quiet.row()),
        ("settings", "settings", settings.encode()),
        ("verdict", "alr_1", json.dumps(verdict).encode()),
        ("suppression_lifted", quiet.id, json.dumps({"id": quiet.id}).encode()),
        ("suppression", "sup_broken", b'{"id": "sup_broken"}'),
    ]

    async def play() -> None:
        async with running(postgres_url) as world:
            for number in range(1, 6):
                await sent(world, str(number))
            seed(postgres_url, [(ASK, row) for row in asked])
            await sent(world, "6")
        async with running(postgres_url) as world:
            await sent(world, "7", amount_usd="900000.00", destination="eip155:1:0x" + "9" * 40)
            rows = world.rows("SELECT kind, seq FROM learning_requests ORDER BY id")
            places = [row["seq"] for row in rows]
            assert places[:4] == sorted(places[:4])
            assert min(places[:4]) > 0
            assert places[4] == 0, "what cannot be applied is refused and stops nobody"
            assert world.count("learning", "kind = 'settings'") == 2

    asyncio.run(play())
    assert verified(postgres_url).differences == ()


def test_another_set_of_detectors_is_used_from_the_next_batch_on_and_noted_in_the_sequence(
    postgres_url: str, tmp_path: Path
) -> None:
    shutil.copy(min(DEFAULT_DIRECTORY.glob("*.yaml")), tmp_path)
    fewer = load_directory(tmp_path)

    async def play() -> list[str]:
        async with running(postgres_url) as world:
            for number, detectors in enumerate((DETECTORS, fewer, fewer, DETECTORS), 11):
                world.intake._keeper.use(detectors)
                await sent(world, str(number))
            rows = world.rows("SELECT payload FROM learning WHERE kind = 'rules' ORDER BY seq")
            return [json.loads(bytes(row["payload"]))["digest"] for row in rows]

    found = asyncio.run(play())
    assert found == [DETECTORS.digest(), fewer.digest(), DETECTORS.digest()]
    assert verified(postgres_url).differences == ()
