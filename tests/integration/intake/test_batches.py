import asyncio
import json
from collections.abc import AsyncIterator, MutableMapping
from typing import Any, cast

import httpx
import pytest
import rlp

from tests.support.intake import (
    TOKEN,
    clear_by_hand,
    encoded,
    hold_by_hand,
    running,
    seed,
    signed,
    stand_still,
    withdrawal,
)

pytestmark = pytest.mark.servers
AUTH = {"authorization": f"Bearer {TOKEN}"}


def line(number: int, **changes: object) -> bytes:
    told = withdrawal(number, **{"timestamp": "2026-01-01T00:00:00Z", **changes})
    return encoded(told | {"id": f"e-{number}"}) + b"\n"


def test_a_bad_line_spoils_nothing_and_answers_keep_the_order(url: str) -> None:
    lines = [
        line(1),
        b"not json\n",
        line(2, asset=None),
        b"x" * 300_000 + b"\n",
        line(3),
        line(1),
        line(1, asset="other"),
    ]

    async def chunks() -> AsyncIterator[bytes]:
        whole = b"".join(lines)
        for start in range(0, len(whole), 70_001):
            yield whole[start : start + 70_001]

    async def play() -> None:
        async with running(url) as world:
            answer = await world.client.post("/v1/activities", content=chunks(), headers=AUTH)
            told = [json.loads(text) for text in answer.text.splitlines()]
            assert [one["status"] for one in told] == [
                "scored", "refused", "refused", "refused", "scored", "scored", "refused",
            ]  # fmt: skip
            assert told[2]["problem"]["field"] == "data.asset"
            assert told[3]["problem"]["code"] == "too_large"
            assert told[5]["activity_id"] == told[0]["activity_id"]
            assert told[6]["problem"]["code"] == "conflict"
            assert world.count("activities") == 2

    asyncio.run(play())


def test_history_never_alerts_and_ends_when_the_account_is_live(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            huge = line(1, amount_usd="900000000.00", balance_usd="900000001.00")
            first = await world.client.post("/v1/activities?mode=history", content=huge, headers=AUTH)
            assert json.loads(first.text)["status"] == "history"
            assert world.count("alerts") == 0
            body = encoded(withdrawal(2))
            await world.client.post("/webhooks/std", content=body, headers=signed("m", body))
            late = await world.client.post("/v1/activities?mode=history", content=line(3), headers=AUTH)
            assert json.loads(late.text)["problem"]["code"] == "forbidden"
            wrong = await world.client.post("/v1/activities?mode=both", content=line(3), headers=AUTH)
            assert (wrong.status_code, wrong.json()["field"]) == (422, "mode")

    asyncio.run(play())


def test_only_an_ingest_token_may_send(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            for headers in ({}, {"authorization": "Bearer x"}, {"authorization": f"Bearer {TOKEN}x"}):
                answer = await world.client.post("/v1/activities", content=line(1), headers=headers)
                assert answer.status_code == 401
            assert world.count("activities") == 0

    asyncio.run(play())


def test_a_decision_is_stored_repeated_and_looked_up_again(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:

            async def ask(number: int, **changes: object) -> dict[str, object]:
                body = encoded(withdrawal(number, **changes) | {"id": f"q-{number}", "deadline_ms": 20_000})
                answer = await world.client.post("/v1/decisions", content=body, headers=AUTH)
                assert answer.status_code == 200, answer.text
                found: dict[str, object] = answer.json()
                return found

            stamp = "2026-01-01T00:00:00Z"
            first = await ask(1, timestamp=stamp)
            assert first["decision"] == "approve"
            assert await ask(1, timestamp=stamp) == first
            hold_by_hand(url, "std", "account", "hot-1")
            assert (await ask(1, timestamp=stamp))["decision"] == "hold"
            assert (await ask(2, timestamp=stamp))["decision"] == "hold"
            seed(url, [("UPDATE gate_holds SET released_at = now()", ())])
            assert (await ask(2, timestamp=stamp))["decision"] == "approve"
            other = encoded(withdrawal(9) | {"id": "q-1", "deadline_ms": 20_000})
            assert (await world.client.post("/v1/decisions", content=other, headers=AUTH)).status_code == 409
            unlisted = await ask(3, account="nobody")
            assert unlisted["decision"] == "hold"
            assert world.count("decisions") == 3

    asyncio.run(play())


def test_a_held_question_passes_once_people_cleared_its_transaction(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            first = encoded(withdrawal(1))
            await world.client.post("/webhooks/std", content=first, headers=signed("m", first))
            changed = withdrawal(1, destination="eip155:1:0x" + "7" * 40) | {"id": "q-1", "deadline_ms": 20_000}
            body = encoded(changed)
            answer = await world.client.post("/v1/decisions", content=body, headers=AUTH)
            assert answer.json()["decision"] == "hold"
            (asked,) = world.rows("SELECT activity_id FROM decisions")
            (told,) = world.rows("SELECT id FROM activities WHERE event_id = 'm'")
            clear_by_hand(url, told["id"])
            answer = await world.client.post("/v1/decisions", content=body, headers=AUTH)
            assert answer.json()["decision"] == "hold", "another destination was cleared"
            clear_by_hand(url, asked["activity_id"])
            answer = await world.client.post("/v1/decisions", content=body, headers=AUTH)
            assert answer.json()["decision"] == "approve"
            assert world.rows("SELECT decision FROM decisions")[0]["decision"] == "approve"

    asyncio.run(play())


def test_other_bytes_do_not_pass_by_what_was_cleared(url: str) -> None:
    def raw(data: bytes) -> str:
        fields = [1, 0, 1, 1, 21_000, bytes.fromhex("5d" * 20), 10**16, data, []]
        return "0x02" + bytes(rlp.encode(fields)).hex()

    async def play() -> None:
        async with running(url) as world:
            told: dict[str, object] = {"destination": "eip155:1:0x" + "5d" * 20, "amount_base_units": str(10**16)}
            first = encoded(withdrawal(1, **told))
            await world.client.post("/webhooks/std", content=first, headers=signed("m", first))

            async def ask(request: str, **more: object) -> str:
                body = withdrawal(1, **told, **more) | {"id": request, "deadline_ms": 20_000}
                answer = await world.client.post("/v1/decisions", content=encoded(body), headers=AUTH)
                return str(answer.json()["decision"])

            seed(url, [("UPDATE transactions SET decision = 'hold'", ())])
            assert await ask("q-1", raw_transaction=raw(b"")) == "hold"
            clear_by_hand(url, world.rows("SELECT id FROM activities WHERE event_id = 'm'")[0]["id"])
            assert await ask("q-2", raw_transaction=raw(b"")) == "approve"
            assert await ask("q-3", raw_transaction=raw(b"\x01\x02\x03\x04")) == "reject"

    asyncio.run(play())


def test_an_answer_does_not_wait_for_the_next_line(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            answered, told = asyncio.Event(), list[bytes]()
            chunks = [line(1), b""]

            async def receive() -> dict[str, object]:
                if len(chunks) == 1:
                    await answered.wait()
                return {"type": "http.request", "body": chunks.pop(0), "more_body": bool(chunks)}

            async def send(message: MutableMapping[str, Any]) -> None:
                if message.get("body"):
                    told.append(message["body"])
                    answered.set()

            headers = [(name.encode(), value.encode()) for name, value in AUTH.items()]
            scope = {
                "type": "http",
                "method": "POST",
                "path": "/v1/activities",
                "headers": headers,
                "client": ("::1", 1),
            }
            async with asyncio.timeout(30):
                await cast("httpx.ASGITransport", world.client._transport).app(scope, receive, send)
            assert json.loads(b"".join(told))["status"] == "scored"

    asyncio.run(play())


def test_lines_and_questions_are_charged_to_the_connection(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_still(monkeypatch)
    seed(url, [('UPDATE connections SET config = \'{"rate_per_s": "0.1"}\'', ())])
    question = encoded(withdrawal(2) | {"id": "q-1", "deadline_ms": 20_000})

    async def play() -> None:
        async with running(url) as world:
            answer = await world.client.post("/v1/activities", content=line(1), headers=AUTH)
            assert json.loads(answer.text)["status"] == "scored"
            assert (await world.client.post("/v1/decisions", content=question, headers=AUTH)).status_code == 429
        async with running(url) as world:
            assert (await world.client.post("/v1/decisions", content=question, headers=AUTH)).status_code == 200
            assert (await world.client.post("/v1/decisions", content=question, headers=AUTH)).status_code == 429

    asyncio.run(play())
