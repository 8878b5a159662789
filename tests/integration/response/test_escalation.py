"""On-call levels: durable timers, acknowledgement, and nobody beyond level one without a mandate or a quorum."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, update

from service.authority.changes import settle
from service.domain.approval import ApprovalState, Item
from service.domain.attention import before_it_ends
from service.domain.errors import ApprovalError
from service.domain.ids import ApprovalId, IncidentId, StepId, new_id
from service.domain.incident import Severity
from service.domain.looks import LOOK
from service.domain.plan import Effect
from service.flow import escalate, finality
from service.flow.finality import Looking
from service.flow.notify import telling
from service.store.tables.approval import approvals, mandates
from service.store.tables.attention import escalations, messages, timers
from service.store.tables.incident import incidents, steps
from service.store.tables.proof import timeline
from tests.integration.api.rows import add_step
from tests.support.authority import House
from tests.support.response import CONTAINMENT, equip, rows, said, superuser_do, waiting_timers

PATIENCE = timedelta(minutes=3)


@pytest.fixture
def incident(ready: House) -> IncidentId:
    return equip(ready)


def start(house: House, incident: IncidentId) -> None:
    escalate.start(house.database(CONTAINMENT), incident)


def fire(house: House, after: timedelta = PATIENCE) -> None:
    """Let time pass, then act on whatever is due, twice."""
    house.clock.pass_by(after)
    with house.database(CONTAINMENT).begin() as uow:
        due = uow.attention.due_timers(10)
    for timer in [*due, *due]:
        escalate.timer(house.database(CONTAINMENT), house.office.public_key_pem, timer)


def pages(house: House) -> list[tuple[int, str]]:
    return [(row.level, row.reason.partition(":")[0]) for row in rows(house, escalations)]


def test_level_one_is_paged_at_once_and_only_once(ready: House, incident: IncidentId) -> None:
    start(ready, incident)
    start(ready, incident)
    assert pages(ready) == [(1, "on_call")]
    assert list(waiting_timers(ready)) == ["escalate.1.level.2"]


def test_nothing_happens_before_its_time(ready: House, incident: IncidentId) -> None:
    start(ready, incident)
    (row,) = rows(ready, timers)
    escalate.timer(ready.database(CONTAINMENT), ready.office.public_key_pem, row.id)
    assert list(waiting_timers(ready)) == ["escalate.1.level.2"]


def test_an_invented_job_uses_up_no_timer_of_the_other_kind(ready: House, incident: IncidentId) -> None:
    start(ready, incident)
    look = f"{LOOK}1:10"
    with ready.database(CONTAINMENT).begin() as uow:
        uow.attention.set_timer(look, "stp_of_a_chain", ready.clock.now(), {"incident": incident})
    ready.clock.pass_by(PATIENCE)
    ids = {row.kind: row.id for row in rows(ready, timers)}
    escalate.timer(ready.database(CONTAINMENT), ready.office.public_key_pem, ids[look])
    finality.look(Looking(ready.database("portcullis_keys"), ready.clock, {}, None), ids["escalate.1.level.2"])
    assert sorted(waiting_timers(ready)) == ["escalate.1.level.2", look]


def test_level_two_waits_for_a_quorum(ready: House, incident: IncidentId) -> None:
    start(ready, incident)
    fire(ready)
    assert pages(ready) == [(1, "on_call")]
    (approval,) = rows(ready, approvals)
    assert approval.state == "waiting"
    pem, db = ready.office.public_key_pem, ready.database(CONTAINMENT)
    superuser_do(ready, update(approvals).values(state="approved"))
    with pytest.raises(ApprovalError, match="lacks"):
        escalate.released(db, pem, ApprovalId(approval.id))
    superuser_do(ready, update(approvals).values(state="waiting"))
    with db.begin() as uow:
        document = uow.approvals.document(ApprovalId(approval.id))
    ready.vote(document, list(ready.phones)[3])
    escalate.released(db, pem, document.id)
    escalate.released(db, pem, document.id)
    assert pages(ready) == [(1, "on_call"), (2, "quorum")]
    assert rows(ready, approvals)[0].state == ApprovalState.EXECUTED.value
    assert list(waiting_timers(ready)) == ["escalate.1.level.3"]


def test_acknowledging_stops_it(ready: House, incident: IncidentId) -> None:
    start(ready, incident)
    with ready.database("portcullis_api").begin() as uow:
        assert uow.incidents.acknowledge(incident, "per_ada")
        assert not uow.incidents.acknowledge(incident, "per_bob")
    escalate.acknowledged(ready.database(CONTAINMENT), incident)
    assert waiting_timers(ready) == {}
    assert all(row.acknowledged_at for row in rows(ready, escalations))
    fire(ready)
    assert rows(ready, approvals) == []


def test_acknowledging_stops_it_though_the_job_was_lost(ready: House, incident: IncidentId) -> None:
    start(ready, incident)
    with ready.database("portcullis_api").begin() as uow:
        uow.incidents.acknowledge(incident, "per_ada")
    fire(ready)
    assert rows(ready, approvals) == []
    assert waiting_timers(ready) == {}


def mandate(house: House, **limits: tuple[str, ...]) -> str:
    """Have people grant a mandate, as they do."""
    identity = new_id("man")
    params = {"id": identity, "scope": "escalation", "limits": {k: list(v) for k, v in limits.items()}, "lasts_s": 3600}
    item = Item(
        step="", action="mandate.grant", effect=Effect.LOOSENS, target={"kind": "mandate", "value": identity},
        params=params, sentence="Page level two at once.",
    )  # fmt: skip
    document = house.ask(item)
    for person in list(house.phones)[2:]:
        house.vote(document, person)
    settle(house.office)
    assert [row.id for row in rows(house, mandates)] == [identity]
    return identity


def test_a_mandate_lets_level_two_be_paged_at_once(ready: House, incident: IncidentId) -> None:
    mandate(ready, kind=("drain",), severity=("critical", "high"))
    start(ready, incident)
    fire(ready)
    assert pages(ready) == [(1, "on_call"), (2, "mandate")]
    assert len(rows(ready, approvals)) == 1


def test_a_mandate_for_something_else_or_run_out_does_not(ready: House, incident: IncidentId) -> None:
    mandate(ready, kind=("account_takeover",))
    start(ready, incident)
    fire(ready)
    assert pages(ready) == [(1, "on_call")]
    assert len(rows(ready, approvals)) == 2


@pytest.mark.parametrize("forged", ["new row", "wider limits", "longer"])
def test_a_mandate_s_row_alone_is_no_authority(ready: House, incident: IncidentId, forged: str) -> None:
    now = ready.clock.now()
    far = now + timedelta(days=365)
    if forged == "new row":
        item = Item(
            step="", action="mandate.grant", effect=Effect.LOOSENS, target={"kind": "mandate", "value": "man_x"},
            params={"id": "man_x", "scope": "escalation", "limits": {}, "lasts_s": 3600}, sentence="Never voted on.",
        )  # fmt: skip
        document = ready.ask(item)
        row = {"id": "man_x", "scope": "escalation", "limits": {}, "approval_id": document.id}
        superuser_do(ready, insert(mandates).values(**row, expires_at=far, created_at=now))
    else:
        mandate(ready, kind=("drain",) if forged == "longer" else ("account_takeover",))
        changes = {"expires_at": far} if forged == "longer" else {"limits": {}, "expires_at": far}
        superuser_do(ready, update(mandates).values(**changes))
    if forged == "longer":
        ready.clock.pass_by(timedelta(days=8))
    start(ready, incident)
    fire(ready)
    assert pages(ready) == [(1, "on_call")]
    assert "mandate.refused" in said(ready, incident)


def test_when_nobody_could_approve_those_on_call_are_paged_again(ready: House, incident: IncidentId) -> None:
    from service.store.tables.registry import people  # noqa: PLC0415  beside its only use

    first = next(iter(ready.phones))
    superuser_do(ready, update(people).where(people.c.id != first).values(roles=["analyst"]))
    superuser_do(ready, update(people).where(people.c.id == first).values(roles=["responder"]))
    start(ready, incident)
    fire(ready)
    assert pages(ready) == [(1, "on_call"), (1, "again")]
    assert "approval.impossible" in said(ready, incident)


def test_an_unconfirmed_step_pages_again_one_level_higher_each_time(ready: House, incident: IncidentId) -> None:
    start(ready, incident)
    with ready.database(CONTAINMENT).begin() as uow:
        uow.incidents.acknowledge(incident, "per_ada")
    escalate.acknowledged(ready.database(CONTAINMENT), incident)
    with ready.database(CONTAINMENT).begin() as uow:
        uow.attention.set_timer("step.confirm", "stp_1", uow.now + timedelta(hours=1), {"incident": incident})
    fire(ready, timedelta(hours=1))
    assert pages(ready) == [(1, "on_call"), (1, "unconfirmed")]
    assert rows(ready, approvals) == []
    fire(ready)
    assert len(rows(ready, approvals)) == 1, "level two waits for its quorum"


def test_a_low_incident_wakes_nobody_until_it_grows(ready: House, incident: IncidentId) -> None:
    superuser_do(ready, update(incidents).values(severity=int(Severity.LOW)))
    start(ready, incident)
    assert pages(ready) == []
    superuser_do(ready, update(incidents).values(severity=int(Severity.MEDIUM)))
    start(ready, incident)
    assert pages(ready) == [(1, "on_call")]
    due = waiting_timers(ready)["escalate.1.level.2"].due_at
    assert due == ready.clock.now() + timedelta(minutes=15)
    superuser_do(ready, update(incidents).values(severity=int(Severity.CRITICAL)))
    start(ready, incident)
    assert waiting_timers(ready)["escalate.1.level.2"].due_at == ready.clock.now() + PATIENCE
    assert pages(ready) == [(1, "on_call")]


def test_an_incident_that_grows_worse_after_somebody_took_it_pages_again(ready: House, incident: IncidentId) -> None:
    db = ready.database(CONTAINMENT)

    def told() -> list[tuple[str, str]]:
        telling.incident(db, incident)
        start(ready, incident)
        return [(row.subject, row.recipient) for row in rows(ready, messages)]

    superuser_do(ready, update(incidents).values(severity=int(Severity.MEDIUM)))
    before = told()
    with db.begin() as uow:
        uow.incidents.acknowledge(incident, "per_ada")
    escalate.acknowledged(db, incident)
    superuser_do(ready, update(incidents).values(severity=int(Severity.CRITICAL)))
    assert told() == before
    with db.begin() as uow:
        uow.incidents.alarm(incident)  # as triage does with the severity
    assert told() == told() == [*before, *((f"[critical]{subject.partition(']')[2]}", to) for subject, to in before)]
    assert pages(ready) == [(1, "on_call"), (1, "alarm")]
    fire(ready)
    assert len(rows(ready, approvals)) == 1, "nobody took it as it is now: level two"
    with db.begin() as uow:
        assert uow.incidents.acknowledge(incident, "per_ada"), "it is taken anew"


def test_an_alarm_while_levels_are_paged_does_not_begin_them_anew(ready: House, incident: IncidentId) -> None:
    start(ready, incident)
    with ready.database(CONTAINMENT).begin() as uow:
        uow.incidents.alarm(incident)
    start(ready, incident)
    assert pages(ready) == [(1, "on_call"), (1, "alarm")]
    assert list(waiting_timers(ready)) == ["escalate.1.level.2"]
    fire(ready)
    assert list(waiting_timers(ready)) == ["escalate.2.level.3"]


def test_a_closed_incident_pages_nobody(ready: House, incident: IncidentId) -> None:
    start(ready, incident)
    superuser_do(ready, update(incidents).values(state="closed"))
    fire(ready)
    assert rows(ready, approvals) == []
    assert pages(ready) == [(1, "on_call")]


def frozen(house: House, incident: IncidentId) -> StepId:
    """A freeze that holds for three more hours."""
    start(house, incident)
    with house.databases["superuser"].begin() as uow:
        step = StepId(add_step(uow.connection, incident, action="freeze_account", effect="irreversible"))
        done = uow.plans.step(step)
        uow.attention.set_timer(*before_it_ends(done, uow.now + timedelta(hours=3)))
        uow.incidents.acknowledge(incident, "per_ada")
    escalate.acknowledged(house.database(CONTAINMENT), incident)
    return step


def test_two_hours_before_a_freeze_ends_people_are_told_how_to_ask_for_another(
    ready: House, incident: IncidentId
) -> None:
    frozen(ready, incident)
    fire(ready, timedelta(minutes=59))
    assert pages(ready) == [(1, "on_call")]
    fire(ready, timedelta(minutes=2))
    assert pages(ready) == [(1, "on_call"), (1, "ends_soon")], "once, though somebody has the incident in hand"
    (told,) = [row for row in rows(ready, timeline, incident_id=incident) if row.kind == "step.ends_soon"]
    assert f"portcullis request {incident} freeze_account" in told.sentence


@pytest.mark.parametrize(
    ("state", "paged"), [("waiting_approval", 0), ("running", 0), ("done", 0), ("refused", 1), ("failed", 1)]
)
def test_of_a_freeze_that_was_asked_for_again_nobody_is_told(
    ready: House, incident: IncidentId, state: str, paged: int
) -> None:
    frozen(ready, incident)
    with ready.databases["superuser"].begin() as uow:
        again = add_step(uow.connection, incident, action="freeze_account", effect="irreversible")
        uow.connection.execute(update(steps).where(steps.c.id == again).values(state=state))
    fire(ready, timedelta(hours=2))
    assert pages(ready)[1:] == [(1, "ends_soon")] * paged
