import asyncio
import json
import random

import pytest

from tests.support.intake import (
    OTHER_SECRET,
    SECRET,
    add_account,
    add_connection,
    encoded,
    running,
    signed,
    withdrawal,
)

pytestmark = pytest.mark.servers


@pytest.fixture
def url(fresh_postgres_url: str) -> str:
    add_connection(
        fresh_postgres_url, "std", "standard", {}, {"webhook_secret.0": SECRET, "webhook_secret.1": OTHER_SECRET}
    )
    add_account(fresh_postgres_url, "std", "hot-1")
    return fresh_postgres_url


def test_a_webhook_is_stored_scored_and_answered(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            body = encoded(withdrawal(1))
            answer = await world.client.post("/webhooks/std", content=body, headers=signed("msg_1", body))
            assert answer.status_code == 200, answer.text
            assert answer.json()["status"] == "scored"
            again = await world.client.post("/webhooks/std", content=body, headers=signed("msg_1", body))
            assert again.json() == answer.json()
            stored = world.rows("SELECT * FROM activities")
            assert len(stored) == 1
            assert stored[0]["seq"] == 3
            assert bytes(stored[0]["raw"]) == body
            assert stored[0]["amount_base_units"] == 2 * 10**16
            kinds = [row["kind"] for row in world.rows("SELECT kind FROM learning ORDER BY seq")]
            assert kinds == ["settings", "rules", "activity"]
            assert world.count("audit_entries", "body LIKE '%activity.batch%'") == 1
            assert world.count("accounts", "live_since IS NOT NULL") == 1

    asyncio.run(play())


def test_a_thousand_webhooks_twice_in_random_order_are_stored_once(url: str) -> None:
    number = 1000
    order = [i for i in range(number) for _ in range(2)]
    random.Random(7).shuffle(order)  # noqa: S311  an order that can be repeated, not a secret

    async def play() -> None:
        async with running(url) as world:
            work = iter(order)

            async def client() -> None:
                for i in work:
                    body = encoded(withdrawal(i, timestamp="2026-01-01T00:00:00Z"))
                    answer = await world.client.post("/webhooks/std", content=body, headers=signed(f"msg_{i}", body))
                    assert answer.status_code == 200, answer.text

            await asyncio.gather(*(client() for _ in range(8)))
            assert world.count("activities") == number
            assert world.count("learning", "kind = 'activity'") == number
            assert world.count("transactions") == number

    asyncio.run(play())


def test_the_same_id_with_another_body_is_a_conflict_that_is_kept_and_alerts(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            first, second = encoded(withdrawal(1)), encoded(withdrawal(2))
            await world.client.post("/webhooks/std", content=first, headers=signed("msg_1", first))
            for _ in range(2):
                answer = await world.client.post("/webhooks/std", content=second, headers=signed("msg_1", second))
                assert answer.status_code == 409
                assert answer.json()["code"] == "conflict"
            assert world.count("activities") == 1
            assert bytes(world.rows("SELECT raw FROM conflicting_events")[0]["raw"]) == second
            alerts = world.rows("SELECT * FROM alerts")
            assert [alert["count"] for alert in alerts] == [2]
            assert world.count("outbox", "event = 'alert_raised'") == 1

    asyncio.run(play())


def test_events_of_unlisted_accounts_are_stored_and_not_learned(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            body = encoded(withdrawal(1, account="nobody"))
            answer = await world.client.post("/webhooks/std", content=body, headers=signed("msg_1", body))
            assert answer.json()["status"] == "unattributed"
            assert world.count("learning", "kind = 'activity'") == 0
            assert world.count("transactions") == 0

    asyncio.run(play())


def test_a_transaction_counts_once(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:

            async def tell(event: str, **changes: object) -> str:
                body = encoded(withdrawal(1, **changes))
                answer = await world.client.post("/webhooks/std", content=body, headers=signed(event, body))
                return str(answer.json()["status"])

            assert await tell("a") == "scored"
            assert await tell("b", type="withdrawal.confirmed") == "repeated"
            assert await tell("c", type="withdrawal.broadcast") == "repeated"
            assert world.rows("SELECT state FROM transactions")[0]["state"] == "confirmed"
            assert world.count("learning", "kind = 'activity'") == 1
            assert await tell("d", destination="eip155:1:0x00000000000000000000000000000000000000ff") == "scored"
            changed = world.rows("SELECT decision, reasons FROM activities WHERE event_id = 'd'")[0]
            assert changed["decision"] == "hold"
            assert json.loads(changed["reasons"])[0]["feature"] == "transaction_changed"
            assert world.rows("SELECT event FROM outbox")[0]["event"] == "alert_raised"
            assert world.count("alerts", "decision = 'hold'") == 1

    asyncio.run(play())


@pytest.mark.parametrize(
    "changes",
    [
        {"webhook-signature": "v1"},
        {"webhook-signature": "a,b,c"},
        {"webhook-signature": "v1,x"},
        {"webhook-signature": ""},
        {"webhook-signature": "v1,"},
        {"webhook-signature": "v2,AAAA"},
        {"webhook-timestamp": "nan"},
        {"webhook-timestamp": "1e99"},
        {"webhook-timestamp": "-5"},
        {"webhook-timestamp": "9" * 40},
        {"webhook-id": "a.b"},
        {"webhook-id": "x" * 300},
    ],
)
def test_malformed_headers_are_a_clean_401(url: str, changes: dict[str, str]) -> None:
    async def play() -> None:
        async with running(url) as world:
            headers = signed("msg_1", b"\xff") | changes
            answer = await world.client.post("/webhooks/std", content=b"\xff", headers=headers)
            assert answer.status_code == 401
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["type"] == "urn:portcullis:problem:unauthenticated"
            assert world.count("activities") == 0

    asyncio.run(play())


def test_other_bad_input(url: str) -> None:
    async def play() -> None:
        async with running(url) as world:
            post = world.client.post
            assert (await post("/webhooks/std", content=b"{}")).status_code == 401
            broken = await post("/webhooks/std", content=b"\xff", headers=signed("m", b"\xff"))
            assert (broken.status_code, broken.json()["field"]) == (422, "body")
            body = encoded(withdrawal(1, amount_base_units="ten"))
            wrong = await post("/webhooks/std", content=body, headers=signed("m", body))
            assert (wrong.status_code, wrong.json()["field"]) == (422, "data.amount_base_units")
            body = encoded(withdrawal(1))
            old = await post("/webhooks/std", content=body, headers=signed("m", body, at=1_600_000_000))
            assert old.status_code == 401
            assert (await post("/webhooks/std", content=b" " * 300_000)).status_code == 413
            assert (await post("/webhooks/none", content=b"{}")).status_code == 404
            assert (await world.client.get("/webhooks/std")).status_code == 405
            asked = await post("/webhooks/std", content=body, headers=signed("gate:r-1", body))
            assert (asked.status_code, asked.json()["field"]) == (422, "webhook-id")
            rotated = await post("/webhooks/std", content=body, headers=signed("m", body, key=bytes(range(1, 33))))
            assert rotated.status_code == 200

    asyncio.run(play())
