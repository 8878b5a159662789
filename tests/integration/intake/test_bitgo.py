"""BitGo's notifications and questions through the whole intake: verified, stored, scored, answered by status."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.bitgo import PATH_SECRET, SETTINGS, WALLET, WEBHOOK_SECRET, policy_request, signed
from tests.support.intake import World, add_account, add_connection, clear_by_hand, encoded, hold_by_hand, running, seed

pytestmark = pytest.mark.servers
ASK = f"/cosigner/bg/policy/{PATH_SECRET}"


@pytest.fixture
def url(fresh_postgres_url: str) -> str:
    secrets = {"webhook_secret": WEBHOOK_SECRET.encode(), "policy_path_secret": PATH_SECRET.encode()}
    add_connection(fresh_postgres_url, "bg", "bitgo", dict(SETTINGS), secrets)
    add_account(fresh_postgres_url, "bg", WALLET)
    return fresh_postgres_url


def play(url: str, script: Callable[[World], Any]) -> None:
    async def run() -> None:
        async with running(url, connection="bg") as world:
            await script(world)

    asyncio.run(run())


def test_a_notification_is_stored_once_however_often_it_is_sent(url: str) -> None:
    async def script(world: World) -> None:
        told = {"type": "transfer", "transferType": "send", "coin": "tbtc4", "wallet": WALLET, "transfer": "t-1"}
        for retries, state in ((0, "signed"), (1, "signed"), (0, "confirmed")):
            body = encoded(told | {"state": state, "retries": retries, "valueString": "-5"})
            answer = await world.client.post("/webhooks/bg", content=body, headers=signed(body))
            assert answer.status_code == 200, answer.text
        assert world.count("activities") == 2
        assert world.count("conflicting_events") == 0
        assert world.rows("SELECT state FROM transactions")[0]["state"] == "confirmed"
        forged = await world.client.post("/webhooks/bg", content=body, headers=signed(body, "another secret"))
        assert forged.status_code == 401

    play(url, script)


def test_a_question_is_answered_by_its_status(url: str) -> None:
    async def script(world: World) -> None:
        request = policy_request()
        first = await world.client.post(ASK, json=request)
        assert (first.status_code, first.json()["decision"]) == (200, "approve")
        again = await world.client.post(ASK, json=request | {"approvalCount": 2})
        assert again.status_code == 200
        assert world.count("transactions") == 1
        unnamed = await world.client.post(ASK, json=policy_request(halfSigned=""))
        assert (unnamed.status_code, unnamed.json()["decision"]) == (403, "hold")
        wrong = await world.client.post("/cosigner/bg/policy/" + "x" * 40, json=request)
        assert wrong.status_code == 401
        assert (await world.client.post(ASK, json=policy_request(evaluationId="e"))).status_code == 422

    play(url, script)


def test_holds_doubts_and_faults_refuse_and_people_let_pass(url: str) -> None:
    async def script(world: World) -> None:
        doubted = policy_request(spendAmount=1)
        answer = await world.client.post(ASK, json=doubted)
        assert (answer.status_code, answer.json()["decision"]) == (403, "hold")
        clear_by_hand(url, world.rows("SELECT activity_id FROM decisions")[0]["activity_id"])
        assert (await world.client.post(ASK, json=doubted)).status_code == 200
        hold_by_hand(url, "bg", "account", WALLET)
        held = policy_request()
        assert (await world.client.post(ASK, json=held)).status_code == 403
        seed(url, [("UPDATE gate_holds SET released_at = now()", ())])
        assert (await world.client.post(ASK, json=held)).status_code == 200
        seed(url, [("ALTER TABLE activities RENAME TO away", ())])
        assert (await world.client.post(ASK, json=policy_request())).status_code == 403

    play(url, script)
