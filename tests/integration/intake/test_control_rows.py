"""What people decided gets its place in the sequence, in order, and replay needs nothing else."""

import asyncio
import json
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from rules.engine import Engine
from rules.loader import DEFAULT_DIRECTORY, load_directory
from rules.settings import EngineSettings
from service.domain.approval import ActionDocument
from service.domain.blinding import Suppression, settings_item, warranted
from service.domain.errors import ApprovalError
from service.domain.ids import ApprovalId, new_id
from service.flow.intake.keeper import EngineKeeper
from service.ports.store.baselines import BaselineView
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
    approved = {"apr_quiet": quiet.item(), "apr_levels": settings_item(EngineSettings(salt="test"), settings)}
    asked = [
        ("suppression", quiet.id, warranted(quiet.row(), "apr_quiet")),
        ("settings", "settings", warranted(settings.encode(), "apr_levels")),
        ("verdict", "alr_1", json.dumps(verdict).encode()),
        ("suppression_lifted", quiet.id, json.dumps({"id": quiet.id}).encode()),
        ("suppression", "sup_broken", b'{"id": "sup_broken"}'),
        ("suppression", "sup_bare", warranted(quiet.row())),
        ("suppression", "sup_unheard_of", warranted(quiet.row(), "apr_unheard_of")),
        ("suppression", "sup_other", warranted(quiet.row(), "apr_levels")),
        ("settings", "settings", warranted(EngineSettings(salt="test", hold_p=1e-9).encode())),
    ]

    def authorised(approval: ApprovalId) -> ActionDocument:
        if approval not in approved:
            raise ApprovalError("no votes")
        return cast("ActionDocument", SimpleNamespace(what=[approved[approval]]))

    async def play() -> None:
        async with running(postgres_url, authorised=authorised) as world:
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
            assert places[4:] == [0] * 5, "what cannot be applied, or nobody voted for, is refused and stops nobody"
            assert world.count("learning", "kind = 'suppression'") == 1
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


def test_a_set_that_comes_while_the_engine_is_built_is_never_told_before_it_is_used(
    postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(min(DEFAULT_DIRECTORY.glob("*.yaml")), tmp_path)
    fewer = load_directory(tmp_path)
    built = EngineKeeper._built

    async def built_late(self: EngineKeeper, view: BaselineView) -> Engine:
        engine = await built(self, view)
        self.use(fewer)
        return engine

    async def play() -> None:
        async with running(postgres_url) as world:
            keeper = world.intake._keeper
            with monkeypatch.context() as patched:
                patched.setattr(EngineKeeper, "_built", built_late)
                await sent(world, "21")
            (row,) = world.rows("SELECT payload FROM learning WHERE kind = 'rules' ORDER BY seq DESC LIMIT 1")
            assert keeper._engine is not None
            assert json.loads(bytes(row["payload"]))["digest"] == fewer.digest()
            assert keeper._engine.detectors is fewer
            before = keeper._engine
            keeper.use(DETECTORS)
            assert before.detectors is fewer, "a batch under way goes on with the set that it began with"

    asyncio.run(play())
    assert verified(postgres_url).differences == ()
