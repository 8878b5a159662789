"""A closed incident's verdicts, all the way: from a held question to the row that the engine learns, and the page of it."""

import asyncio
import json
from typing import Any

import pytest
from sqlalchemy import Select, text

from rules.learning import Verdict
from service.domain.explaining import Assessed
from service.domain.ids import AlertId, IncidentId
from service.domain.incident import CaseVerdict
from service.flow import review
from service.flow.closure import Closing, close
from service.flow.triage import triage
from service.store import findings
from service.store.tables.activity import learning_requests
from service.store.tables.attention import reviews
from service.store.tables.incident import alerts, incidents
from tests.support.authority import House
from tests.support.intake import (
    SECRET,
    TOKEN,
    World,
    add_account,
    add_connection,
    encoded,
    running,
    signed,
    verified,
    withdrawal,
)
from tests.support.response import CONTAINMENT, rows

pytestmark = pytest.mark.servers
AUTH = {"authorization": f"Bearer {TOKEN}"}
ELSEWHERE = "eip155:1:0x" + "7" * 40
STAMP = "2026-01-01T00:00:00Z"


async def told(world: World, number: int) -> None:
    body = encoded(withdrawal(number, timestamp=STAMP))
    answer = await world.client.post("/webhooks/std", content=body, headers=signed(f"m{number}", body))
    assert answer.status_code < 300, answer.text


async def held(url: str) -> None:
    """One transaction is told, then asked about with another destination: that is held and alerted."""
    async with running(url) as world:
        for number in range(5):
            await told(world, number)
        asked = withdrawal(1, destination=ELSEWHERE, device="phone-1", ip="203.0.113.7", timestamp=STAMP)
        answer = await world.client.post(
            "/v1/decisions", content=encoded(asked | {"id": "q", "deadline_ms": 20_000}), headers=AUTH
        )
        assert answer.json()["decision"] == "hold", answer.text


async def one_more(url: str) -> None:
    async with running(url) as world:
        await told(world, 7)


@pytest.mark.parametrize("verdict", list(CaseVerdict))
def test_a_verdict_reaches_the_engine_with_what_it_read(ready: House, verdict: CaseVerdict) -> None:
    url, db = ready.superuser_url, ready.database(CONTAINMENT)
    add_connection(url, "std", "standard", {}, {"webhook_secret": SECRET})
    add_account(url, "std", "hot-1")
    asyncio.run(held(url))
    (alert,) = rows(ready, alerts)
    incident = triage(db, AlertId(alert.id))
    with db.begin() as uow:
        closing = Closing(verdict, by_quorum=True)
        close(uow, uow.incidents.lock_incident(incident), closing)
    review.write(db, IncidentId(incident))
    review.write(db, IncidentId(incident))
    asked = rows(ready, learning_requests, kind="verdict")
    if verdict is CaseVerdict.INCONCLUSIVE:
        assert asked == []
    else:
        (row,) = asked
        found = json.loads(bytes(row.payload))
        assert set(Verdict.__struct_fields__) <= set(found)
        assert (found["activity"], found["alert"], row.subject) == (alert.activity_id, alert.id, alert.id)
        assert (found["verdict"], found["account"], found["actor"]) == (verdict.value, "std/hot-1", "std/ops")
        assert (found["destination"], found["occurred_at_us"]) == (ELSEWHERE, 1_767_225_600_000_000)
    (kept,) = rows(ready, reviews)
    (shown,) = json.loads(kept.body)["alerts"]
    assert shown["because"][0] == "It was held: withdrawal requested."
    assert kept.html.count('class="past"') == 1
    assert "http" not in kept.html.replace("http://www.w3.org/2000/svg", "")
    asyncio.run(one_more(url))
    assert [row.seq > 0 for row in rows(ready, learning_requests)] == [True] * len(rows(ready, learning_requests))
    assert verified(url).differences == ()
    assert rows(ready, incidents)[0].state == "closed"


def test_a_review_is_written_without_the_picture_that_the_database_refuses(
    ready: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(of: Assessed) -> Select[Any]:
        return whole(of).where(text("1 / (length(activities.id) - length(activities.id)) = 1"))

    whole = findings._newest_before
    url, db = ready.superuser_url, ready.database(CONTAINMENT)
    add_connection(url, "std", "standard", {}, {"webhook_secret": SECRET})
    add_account(url, "std", "hot-1")
    asyncio.run(held(url))
    (alert,) = rows(ready, alerts)
    incident = triage(db, AlertId(alert.id))
    with db.begin() as uow:
        close(uow, uow.incidents.lock_incident(incident), Closing(CaseVerdict.TRUE_POSITIVE, by_quorum=True))
    monkeypatch.setattr(findings, "_newest_before", broken)
    review.write(db, IncidentId(incident))
    (kept,) = rows(ready, reviews)
    assert kept.html.count('class="past"') == 0
    assert json.loads(kept.body)["alerts"][0]["because"][0] == "It was held: withdrawal requested."
