"""What people say of what was let pass: a report opens an incident and teaches; only what was drawn is vouched for."""

import asyncio
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, text, update
from sqlalchemy.exc import ProgrammingError

from service.domain.ids import ActivityId, AlertId
from service.domain.incident import CaseVerdict
from service.domain.quorum import Role
from service.domain.reports import is_sampled
from service.flow import review, vouching
from service.flow.closure import Closing, close
from service.flow.triage import triage
from service.store.tables.activity import activities, learning_requests
from service.store.tables.incident import alerts, incidents, vouched
from tests.support.api import API_ROLE, ApiWorld, api_on, problem
from tests.support.authority import House
from tests.support.intake import SECRET, add_account, add_connection, encoded, running, signed, verified, withdrawal
from tests.support.response import CONTAINMENT, rows, superuser_do

pytestmark = pytest.mark.servers
STAMP = "2026-01-01T00:00:00Z"
PLACE = "eip155:1:0x" + "5" * 40
COUNT = 200
"""So that none is drawn once in seven or eight times only; then more are sent."""


@pytest.fixture
def api(ready: House, tmp_path: Path) -> Iterator[ApiWorld]:
    add_connection(ready.superuser_url, "std", "standard", {}, {"webhook_secret": SECRET})
    add_account(ready.superuser_url, "std", "hot-1")
    found = api_on(ready.superuser_url, ready.clock, tmp_path)
    yield found
    found.close()


def let_pass(house: House, first: int, count: int) -> None:
    async def play() -> None:
        async with running(house.superuser_url) as world:
            for number in range(first, first + count):
                body = encoded(withdrawal(number, destination=PLACE, device="phone-1", timestamp=STAMP))
                answer = await world.client.post("/webhooks/std", content=body, headers=signed(f"m{number}", body))
                assert answer.status_code < 300, answer.text

    asyncio.run(play())


def drawn_and_not(house: House) -> tuple[str, str]:
    """Send activities until one was drawn to be vouched for; return it and one that was not."""
    for first in range(0, 100 * COUNT, COUNT):
        let_pass(house, first, COUNT)
        passed = [row.id for row in rows(house, activities, decision="allow")]
        drawn = [one for one in passed if is_sampled(one)]
        if drawn:
            return drawn[0], next(one for one in passed if not is_sampled(one))
    raise AssertionError("one in a hundred is drawn, and none of 20,000 was")


def say(api: ApiWorld, house: House, what: str, activity: str, role: Role = Role.RESPONDER, **body: object) -> Any:
    person = next(iter(house.phones)) if role is Role.RESPONDER else None
    return api.call("POST", f"/v1/activities/{activity}/{what}", role, person=person, json=body)


def closed(house: House, alert: str, verdict: CaseVerdict) -> None:
    db = house.database(CONTAINMENT)
    incident = triage(db, AlertId(alert))
    with db.begin() as uow:
        close(uow, uow.incidents.lock_incident(incident), Closing(verdict, by_quorum=True))
    review.write(db, incident)


def taught(house: House) -> list[Any]:
    return [json.loads(bytes(row.payload)) for row in rows(house, learning_requests, kind="verdict")]


def test_a_reported_theft_is_an_incident_and_teaches_when_it_was_one(ready: House, api: ApiWorld) -> None:
    let_pass(ready, 0, 3)
    stolen, other, _ = (row.id for row in rows(ready, activities))
    answer = say(api, ready, "report", stolen)
    assert answer.status_code == 201, answer.text
    found = answer.json()
    assert (found["decision"], found["kind"], found["reported_by"]) == ("hold", "drain", next(iter(ready.phones)))
    assert {"account:std/hot-1", "device:std/phone-1"} < set(found["entities"])
    received = rows(ready, activities)[0].received_at
    assert datetime.fromisoformat(found["raised_at"]) == received, "the sender's clock dates no incident"
    again = say(api, ready, "report", stolen)
    assert (again.status_code, found["id"] in problem(again)["detail"]) == (409, True)
    closed(ready, found["id"], CaseVerdict.TRUE_POSITIVE)
    (learned,) = taught(ready)
    assert (learned["verdict"], learned["account"], learned["device"]) == ("true_positive", "std/hot-1", "std/phone-1")
    wrong = say(api, ready, "report", other, kind="account_takeover").json()
    assert wrong["kind"] == "account_takeover"
    closed(ready, wrong["id"], CaseVerdict.FALSE_POSITIVE)
    assert taught(ready) == [learned], "who reports a payment of his choice cannot have it called good so"
    assert len(rows(ready, incidents)) == 2
    let_pass(ready, 3, 1)
    assert verified(ready.superuser_url).differences == ()


def test_only_what_was_drawn_is_vouched_for_and_then_learned(ready: House, api: ApiWorld) -> None:
    db = ready.database(CONTAINMENT)
    drawn, other = drawn_and_not(ready)
    listed = [one["id"] for one in api.get("/v1/activities", sample=True, limit=200)["items"]]
    assert drawn in listed
    assert all(map(is_sampled, listed))
    refused = say(api, ready, "vouch", other, Role.ANALYST)
    assert (refused.status_code, "was not drawn" in problem(refused)["detail"]) == (409, True)
    answer = say(api, ready, "vouch", drawn, Role.ANALYST)
    assert answer.status_code == 200, answer.text
    assert say(api, ready, "vouch", drawn, Role.ANALYST).json() == answer.json()
    assert drawn not in [one["id"] for one in api.get("/v1/activities", sample=True, limit=200)["items"]]
    for _ in range(2):
        vouching.vouched(db, ActivityId(drawn))
    (learned,) = taught(ready)
    assert (learned["activity"], learned["verdict"], learned["account"]) == (drawn, "false_positive", "std/hot-1")
    let_pass(ready, 1_000_000, 1)
    assert verified(ready.superuser_url).differences == ()


def test_one_destination_is_vouched_for_once_in_two_days_and_never_under_an_incident(
    ready: House, api: ApiWorld
) -> None:
    """All of these are paid to one place: who has a judge's token cannot wash it by its many small payments."""
    db = ready.database(CONTAINMENT)
    sent = 0
    while len(passed := [row.id for row in rows(ready, activities) if is_sampled(row.id)]) < 3:
        let_pass(ready, sent, COUNT)
        sent += COUNT
    first, second, third = passed[:3]
    assert say(api, ready, "vouch", first, Role.ANALYST).status_code == 200
    refused = say(api, ready, "vouch", second, Role.ANALYST)
    assert (refused.status_code, "within two days" in problem(refused)["detail"]) == (409, True)
    assert api.get("/v1/activities", sample=True, limit=200)["items"] == [], "what would be refused is not offered"
    with api.parts.database.begin() as uow:  # what the API's role writes of the past is not believed either
        long_ago = uow.now - timedelta(days=3)
        uow.connection.execute(insert(vouched).values(activity_id=third, by="per_x", at=long_ago))
    superuser_do(ready, update(vouched).values(at=long_ago))
    for one in (first, third):
        vouching.vouched(db, ActivityId(one))
    assert [found["activity"] for found in taught(ready)] == [first]
    triage(db, AlertId(say(api, ready, "report", third).json()["id"]))
    refused = say(api, ready, "vouch", second, Role.ANALYST)
    assert (refused.status_code, "an open incident" in problem(refused)["detail"]) == (409, True)


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ({"destination": "d", "actor": "a"}, {"destination": "d"}, True),
        ({"destination": "d", "actor": "a"}, {"destination": "e", "actor": "a"}, False),
        ({"actor": "a", "account": "x"}, {"destination": "e", "actor": "a"}, True),
        ({"destination": "", "actor": "a"}, {"destination": "", "actor": "b"}, False),
        ({"account": "x"}, {"actor": "b", "account": "x"}, True),
        ({}, {}, False),
    ],
)
def test_what_another_one_has_in_common_is_its_destination_else_its_actor_else_its_account(
    ready: House, api: ApiWorld, one: dict[str, str], other: dict[str, str], *, alike: bool
) -> None:
    let_pass(ready, 0, 2)
    asked, said = (row.id for row in rows(ready, activities))
    for at, told in ((asked, one), (said, other)):
        subjects = {"destination": None, "actor": None, "account": None, **told}
        superuser_do(ready, update(activities).where(activities.c.id == at).values(**subjects))
    with api.parts.database.begin() as uow:
        uow.reports.vouch(ActivityId(said), "per_x")
        assert uow.reports.vouched_lately(ActivityId(asked)) is alike


def test_a_forged_word_is_not_believed(ready: House, api: ApiWorld) -> None:
    """The API's role may write that somebody vouched for anything; the worker looks for itself."""
    db = ready.database(CONTAINMENT)
    drawn, other = drawn_and_not(ready)
    with api.parts.database.begin() as uow:
        assert uow.connection.execute(text("SELECT current_user")).scalar_one() == API_ROLE
        for one in (drawn, other, "act_unknown"):
            uow.connection.execute(insert(vouched).values(activity_id=one, by="per_x", at=uow.now - timedelta(days=3)))
    assert say(api, ready, "report", drawn).status_code == 201
    for one in (drawn, other, "act_unknown", "act_never_vouched"):
        vouching.vouched(db, ActivityId(one))
    assert taught(ready) == [], "one was reported, one not drawn, one is not there, and of one nobody said anything"
    assert [row.activity_id for row in rows(ready, alerts)] == [drawn]


@pytest.mark.parametrize("role", ["portcullis_authority", "portcullis_keys"])
def test_nobody_but_the_api_writes_who_vouched(ready: House, role: str) -> None:
    with (
        pytest.raises(ProgrammingError, match="permission denied for table vouched"),
        ready.database(role).begin() as at,
    ):
        at.connection.execute(insert(vouched).values(activity_id="act_1", by="per_x", at=at.now))


@pytest.mark.parametrize("what", ["report", "vouch"])
def test_what_is_not_there_is_said(ready: House, api: ApiWorld, what: str) -> None:
    answer = say(api, ready, what, "act_none")
    assert (answer.status_code, problem(answer)["detail"]) == (404, "there is no activity act_none")
