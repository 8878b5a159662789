"""Settling a step whose outcome nobody can tell: asked over the API, voted at the real authority, written by the worker."""

from typing import Any

import psycopg
import pytest
from sqlalchemy import text

from service.actions.base import actions_in
from service.domain.errors import ApprovalError
from service.domain.ids import ApprovalId, StepId
from service.domain.plan import Step, StepState
from service.domain.quorum import Role
from service.domain.settlement import Outcome, settlement_item
from service.flow import settle
from service.flow.routes import JOBS_OF
from service.ports.store.plans import Change
from tests.integration.api.rows import add_step
from tests.support.api import ApiWorld, problem
from tests.support.attacker import Attacker
from tests.support.authority import House
from tests.support.incidents import add_incident

WHY = "Their audit log shows it."
CONTAINMENT = "portcullis_containment"
ACTIONS = actions_in("service.actions")


def doubtful(world: ApiWorld, state: str = "unknown") -> tuple[str, str]:
    """An incident with one step of which nobody knows whether it happened."""
    with world.database.begin() as uow:
        incident = add_incident(uow.connection, ("account:con-a/hot-1",))
        step = add_step(uow.connection, incident)
        uow.connection.execute(
            text("UPDATE steps SET state = :s, attempt = 2, intent_at = now() WHERE id = :i"), {"s": state, "i": step}
        )
    return incident, step


def ask(world: ApiWorld, house: House, incident: str, step: str, outcome: str = "happened", place: int = 0) -> Any:
    path = f"/v1/incidents/{incident}/steps/{step}/settle"
    asker = sorted(house.phones)[place]
    return world.call("POST", path, Role.RESPONDER, person=asker, json={"outcome": outcome, "why": WHY})


def approve(world: ApiWorld, house: House, approval: str) -> None:
    with world.database.begin() as uow:
        document = uow.approvals.document(ApprovalId(approval))
    for voter in sorted(house.phones)[1:]:
        if house.vote(document, voter).state.value != "waiting":
            return


def release(house: House, approval: str) -> None:
    settle.released(house.database(CONTAINMENT), ACTIONS, house.office.public_key_pem, ApprovalId(approval))


def stands(world: ApiWorld, step: str) -> Step:
    with world.database.begin() as uow:
        return uow.plans.step(StepId(step))


def events(world: ApiWorld, step: str) -> list[str]:
    query = text("SELECT event FROM outbox WHERE payload->>'step_id' = :i ORDER BY id")
    with world.database.begin() as uow:
        return list(uow.connection.execute(query, {"i": step}).scalars())


@pytest.mark.parametrize(
    ("outcome", "state", "event"),
    [("happened", StepState.DONE, "step_verified"), ("did_not_happen", StepState.FAILED, "step_failed")],
)
def test_a_quorum_settles_what_no_machine_can_tell(
    world: ApiWorld, house: House, outcome: str, state: StepState, event: str
) -> None:
    incident, step = doubtful(world)
    answer = ask(world, house, incident, step, outcome)
    assert answer.status_code == 202, answer.text
    approval = answer.json()["approval"]
    assert ask(world, house, incident, step, outcome, place=1).json() == answer.json(), "one question, one request"
    with pytest.raises(ApprovalError, match="lacks"):
        release(house, approval)
    assert stands(world, step).state is StepState.UNKNOWN
    approve(world, house, approval)
    release(house, approval)
    release(house, approval)
    found = stands(world, step)
    assert found.state is state
    assert WHY in (found.reason or "")
    assert approval in (found.reason or "")
    assert events(world, step) == [event]
    told = [line for line in world.get(f"/v1/incidents/{incident}")["timeline"] if line["kind"] == "step.settled"]
    assert [line["facts"]["approval"] for line in told] == [approval]
    assert "review.settle" in JOBS_OF["step_approved"]


@pytest.mark.parametrize("state", ["ready", "running", "verifying", "done", "failed"])
def test_what_machines_settle_is_not_for_people(world: ApiWorld, house: House, state: str) -> None:
    incident, step = doubtful(world, state)
    told = problem(ask(world, house, incident, step))
    assert (told["code"], state in told["detail"]) == ("conflict", True)


def test_it_takes_a_person_a_reason_and_the_right_incident(world: ApiWorld, house: House) -> None:
    (incident, step), (other, _) = doubtful(world), doubtful(world)
    path = f"/v1/incidents/{incident}/steps/{step}/settle"
    body = {"outcome": "happened", "why": WHY}
    assert problem(world.call("POST", path, Role.RESPONDER, json=body))["code"] == "forbidden"
    assert problem(world.call("POST", path, Role.ANALYST, json=body))["code"] == "forbidden"
    assert problem(ask(world, house, other, step))["code"] == "not_found"
    assert problem(ask(world, house, incident, step, "perhaps"))["field"] == "outcome"
    asker = min(house.phones)
    for why in (" ", "x" * 801, "\x1b[2J"):
        wrong = world.call("POST", path, Role.RESPONDER, person=asker, json=body | {"why": why})
        assert problem(wrong)["field"] == "why"


def test_votes_about_one_lost_answer_settle_no_later_one(world: ApiWorld, house: House) -> None:
    incident, step = doubtful(world)
    approval = ask(world, house, incident, step).json()["approval"]
    approve(world, house, approval)
    with world.database.begin() as uow:
        uow.connection.execute(text("UPDATE steps SET attempt = 3 WHERE id = :i"), {"i": step})
    release(house, approval)
    assert stands(world, step).state is StepState.UNKNOWN
    assert world.get(f"/v1/approvals/{approval}")["state"] == "void"


def test_what_was_settled_otherwise_meanwhile_stays_so(world: ApiWorld, house: House) -> None:
    incident, step = doubtful(world)
    approval = ask(world, house, incident, step, "did_not_happen").json()["approval"]
    approve(world, house, approval)
    with world.database.begin() as uow:
        uow.plans.move(StepId(step), StepState.VERIFYING)
        uow.plans.write(StepId(step), stands(world, step).fence, Change(StepState.DONE))
    release(house, approval)
    assert stands(world, step).state is StepState.DONE
    assert world.get(f"/v1/approvals/{approval}")["state"] == "void"


def test_the_api_s_role_settles_nothing_by_rows_of_its_own(world: ApiWorld, house: House) -> None:
    _, step = doubtful(world)
    attacker = Attacker(house)
    forged = attacker.document(settlement_item(stands(world, step), Outcome.HAPPENED, None))
    attacker.has_it_approved(forged)
    with pytest.raises(ApprovalError, match="lacks"):
        release(house, forged.id)
    assert stands(world, step).state is StepState.UNKNOWN


def test_rows_that_are_no_requests_stop_no_other(world: ApiWorld, house: House) -> None:
    """As the API's role may write them: JSON, and no action document."""
    incident, step = doubtful(world)
    for subject, told in (
        ("settle", "{}"),
        ("blind", '{"what":[{"action":"blind.nothing","target":{"value":"engine"}}]}'),
    ):
        Attacker(house).runs(
            "INSERT INTO approvals (id, incident_id, subject, document, digest, requester, created_at, approve_by,"
            " execute_by) VALUES (%s, %s, %s, %s, %s, 'x', now(), now() + interval '1 day', now() + interval '1 day')",
            *(f"apr_z{subject}", incident, subject, told, subject),
        )
    approval = ask(world, house, incident, step).json()["approval"]
    listed = world.get("/v1/approvals")["items"]
    assert [one["id"] for one in listed][:3] == ["apr_zsettle", "apr_zblind", approval]
    assert listed[0]["sentences"][0].startswith("This is no request: ")
    with world.database.begin() as uow:
        assert uow.blinding.waiting("blind.nothing", "engine") == []
    with psycopg.connect(house.superuser_url) as administrator:  # other tests list what is here
        administrator.execute("DELETE FROM approvals WHERE id LIKE 'apr_z%'")


def voted(world: ApiWorld, house: House, approval: str, first: int, last: int) -> str:
    """Let these people approve; how the request stands then."""
    with world.database.begin() as uow:
        document = uow.approvals.document(ApprovalId(approval))
    for voter in sorted(house.phones)[first : last + 1]:
        house.vote(document, voter)
    return str(world.get(f"/v1/approvals/{approval}")["state"])


@pytest.mark.parametrize(("outcome", "people"), [("happened", 1), ("did_not_happen", 2)])
def test_what_ends_a_tightening_takes_as_many_as_loosening_it(
    world: ApiWorld, house: House, outcome: str, people: int
) -> None:
    incident, step = doubtful(world)
    approval = ask(world, house, incident, step, outcome).json()["approval"]
    assert voted(world, house, approval, 1, people - 1) == "waiting"
    with pytest.raises(ApprovalError, match="lacks"):
        release(house, approval)
    assert voted(world, house, approval, people, people) == "approved"


def test_a_row_that_calls_a_loosening_step_tightening_lowers_nothing(world: ApiWorld, house: House) -> None:
    with world.database.begin() as uow:
        incident = add_incident(uow.connection, ("account:con-a/hot-1",))
        step = add_step(uow.connection, incident, action="resume_withdrawals", effect="tightens")
        uow.connection.execute(text("UPDATE steps SET state = 'unknown' WHERE id = :i"), {"i": step})
    for outcome in ("happened", "did_not_happen"):
        approval = ask(world, house, incident, step, outcome).json()["approval"]
        assert voted(world, house, approval, 1, 1) == "waiting", outcome


def test_votes_for_a_smaller_quorum_settle_nothing(world: ApiWorld, house: House) -> None:
    _, step = doubtful(world)
    small = settlement_item(stands(world, step), Outcome.DID_NOT_HAPPEN, None)
    document = house.ask(small, requester=min(house.phones), role="portcullis_api")
    for voter in sorted(house.phones)[1:3]:
        house.vote(document, voter)
    release(house, document.id)
    assert stands(world, step).state is StepState.UNKNOWN
    assert world.get(f"/v1/approvals/{document.id}")["state"] == "void"
