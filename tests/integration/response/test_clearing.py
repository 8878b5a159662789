"""Clearing a held question: asked for over the API, voted at the real authority, executed under the worker's own role."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import update

from service.domain.errors import ApprovalError
from service.domain.ids import ActivityId, ApprovalId
from service.domain.quorum import Role
from service.domain.requests import clearance_item
from service.flow import clearance
from service.flow.routes import JOBS_OF
from service.store.tables.activity import activities, learning, learning_requests, transactions
from service.store.tables.approval import approvals
from service.store.tables.proof import timeline
from tests.support.api import ApiWorld, api_on, problem
from tests.support.authority import House
from tests.support.intake import (
    SECRET,
    TOKEN,
    World,
    add_account,
    add_connection,
    encoded,
    hold_by_hand,
    running,
    seed,
    signed,
    verified,
    withdrawal,
)
from tests.support.response import CONTAINMENT, rows, superuser_do

pytestmark = pytest.mark.servers
AUTH = {"authorization": f"Bearer {TOKEN}"}
ELSEWHERE = "eip155:1:0x" + "7" * 40
OTHER = "eip155:1:0x" + "8" * 40
STAMP = "2026-01-01T00:00:00Z"


@pytest.fixture
def api(ready: House, tmp_path: Path) -> Iterator[ApiWorld]:
    add_connection(ready.superuser_url, "std", "standard", {}, {"webhook_secret": SECRET})
    add_account(ready.superuser_url, "std", "hot-1")
    found = api_on(ready.superuser_url, ready.clock, tmp_path)
    yield found
    found.close()


async def ask(world: World, request: str, destination: str) -> str:
    told = withdrawal(1, destination=destination, timestamp=STAMP) | {"id": request, "deadline_ms": 20_000}
    answer = await world.client.post("/v1/decisions", content=encoded(told), headers=AUTH)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["decision"])


async def held_question(world: World) -> str:
    """A webhook tells one destination, the question another: it is held. Returns the question's activity."""
    first = encoded(withdrawal(1, timestamp=STAMP))
    await world.client.post("/webhooks/std", content=first, headers=signed("m", first))
    assert await ask(world, "q-1", ELSEWHERE) == "hold"
    return str(world.rows("SELECT activity_id FROM decisions WHERE request_id = 'q-1'")[0]["activity_id"])


def asked_for(api: ApiWorld, house: House, activity: str, place: int = 0) -> Any:
    person = list(house.phones)[place]
    return api.call("POST", f"/v1/activities/{activity}/clear", Role.RESPONDER, person=person, json={"why": "Ours."})


def approve(house: House, approval: ApprovalId) -> None:
    with house.database(CONTAINMENT).begin() as uow:
        document = uow.approvals.document(approval)
    for voter in list(house.phones)[2:]:
        house.vote(document, voter)


def release(house: House, approval: ApprovalId) -> None:
    clearance.released(house.database(CONTAINMENT), house.office.public_key_pem, approval)


def test_a_quorum_clears_exactly_the_question_that_was_held(ready: House, api: ApiWorld) -> None:
    async def play() -> None:
        async with running(ready.superuser_url) as world:
            activity = await held_question(world)
            answer = await asyncio.to_thread(asked_for, api, ready, activity)
            assert answer.status_code == 202, answer.text
            approval = ApprovalId(answer.json()["approval"])
            again = await asyncio.to_thread(asked_for, api, ready, activity, 1)
            assert again.json() == answer.json()
            with pytest.raises(ApprovalError, match="lacks"):
                release(ready, approval)
            assert await ask(world, "q-1", ELSEWHERE) == "hold"
            approve(ready, approval)
            release(ready, approval)
            release(ready, approval)
            hold_by_hand(ready.superuser_url, "std", "account", "hot-1")
            assert await ask(world, "q-1", ELSEWHERE) == "hold", "the account is held"
            seed(ready.superuser_url, [("UPDATE gate_holds SET released_at = now()", ())])
            assert await ask(world, "q-1", ELSEWHERE) == "approve"
            assert await ask(world, "q-2", OTHER) == "hold", "nobody cleared another destination"
            late = await asyncio.to_thread(asked_for, api, ready, activity)
            assert (late.status_code, "cleared already" in problem(late)["detail"]) == (409, True)

    asyncio.run(play())
    assert "review.clear" in JOBS_OF["step_approved"]
    (request,) = rows(ready, learning_requests, kind="clearance")
    (scored,) = [row for row in rows(ready, learning, kind="activity") if row.subject == request.subject]
    assert (bytes(request.payload), scored.operation) == (bytes(scored.payload), "skip")
    assert [row.subject for row in rows(ready, learning, kind="clearance")] == [request.subject]
    assert len(rows(ready, timeline, kind="activity.cleared")) == 1
    assert rows(ready, approvals)[0].state == "executed"
    assert verified(ready.superuser_url).differences == ()


def test_a_repetition_passes_by_the_clearance_of_what_it_repeats(ready: House, api: ApiWorld) -> None:
    async def play() -> None:
        async with running(ready.superuser_url) as world:
            activity = await held_question(world)
            moved = update(transactions).values(destination=ELSEWHERE, cleared_by=None)
            superuser_do(ready, moved)
            assert await ask(world, "q-2", ELSEWHERE) == "hold"
            (again,) = world.rows("SELECT status FROM activities WHERE event_id = 'gate:q-2'")
            assert again["status"] == "repeated"
            answer = await asyncio.to_thread(asked_for, api, ready, activity)
            approval = ApprovalId(answer.json()["approval"])
            approve(ready, approval)
            release(ready, approval)
            assert await ask(world, "q-2", ELSEWHERE) == "approve"
            superuser_do(ready, update(transactions).values(state="cancelled"))
            assert await ask(world, "q-3", ELSEWHERE) == "hold"

    asyncio.run(play())


def test_what_is_no_longer_as_it_was_approved_is_not_cleared(ready: House, api: ApiWorld) -> None:
    async def play() -> None:
        async with running(ready.superuser_url) as world:
            activity = await held_question(world)
            answer = await asyncio.to_thread(asked_for, api, ready, activity)
            approval = ApprovalId(answer.json()["approval"])
            approve(ready, approval)
            superuser_do(ready, update(activities).where(activities.c.id == activity).values(destination=OTHER))
            release(ready, approval)
            assert await ask(world, "q-1", ELSEWHERE) == "hold"

    asyncio.run(play())
    (request,) = rows(ready, approvals)
    assert (request.state, "not what was approved" in request.reason) == ("void", True)
    assert rows(ready, learning_requests) == []


def test_only_one_held_activity_of_a_transaction_is_asked_for(ready: House, api: ApiWorld) -> None:
    async def play() -> tuple[str, str]:
        async with running(ready.superuser_url) as world:
            activity = await held_question(world)
            assert await ask(world, "q-2", OTHER) == "hold"
            return activity, str(world.rows("SELECT id FROM activities WHERE event_id = 'm'")[0]["id"])

    activity, allowed = asyncio.run(play())
    assert problem(asked_for(api, ready, allowed))["code"] == "conflict"
    assert problem(asked_for(api, ready, "act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q"))["code"] == "not_found"
    path = f"/v1/activities/{activity}/clear"
    assert problem(api.call("POST", path, Role.RESPONDER, json={}))["code"] == "forbidden"
    superuser_do(ready, update(activities).values(transaction=None))
    assert "no transaction" in problem(asked_for(api, ready, activity))["detail"]


@pytest.mark.usefixtures("api")
def test_a_document_of_two_clears_none(ready: House) -> None:
    async def play() -> str:
        async with running(ready.superuser_url) as world:
            return await held_question(world)

    activity = asyncio.run(play())
    with ready.database(CONTAINMENT).begin() as uow:
        item = clearance_item(uow.clearances.held(ActivityId(activity)))
    document = ready.ask(item, item)
    approve(ready, document.id)
    release(ready, document.id)
    assert rows(ready, approvals)[0].state == "void"
    assert rows(ready, transactions)[0].cleared_by is None
