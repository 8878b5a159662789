"""At the hour's blast radius everyone on call is paged, once; and looking at a scene costs the same for any number."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from threading import Thread
from time import sleep
from typing import Any

import pytest
from sqlalchemy import Connection, event, insert, select, text, update

from service.domain.attention import Spent, guardian_note
from service.domain.errors import ForbiddenError
from service.domain.ids import ConnectionId, IncidentId
from service.domain.plan import Effect, StepState
from service.domain.timeline import Entry
from service.flow import escalate, respond, spent
from service.flow.routes import jobs_of
from service.playbooks.planner import Scene as Looked
from service.playbooks.scene import OTHERS_PER_ACCOUNT, possible
from service.ports.store.plans import Touched
from service.ports.store.unit import UnitOfWork
from service.store.tables.attention import escalations, messages
from service.store.tables.incident import incidents
from service.store.tables.keys import safe_destinations
from service.store.tables.proof import outbox, timeline
from service.store.tables.registry import channels, people
from tests.integration.containment.conftest import Scene
from tests.support.incidents import CONNECTION, THIEF, add_account, add_connection, add_incident

pytestmark = pytest.mark.servers
LIMIT = 10
ON_CALL = {"per_1": 1, "per_2": 2, "per_3": 3, "per_also_1": 1}


def a_drain(scene: Scene, count: int) -> IncidentId:
    refs = [f"hot-{n:02}" for n in range(count)]
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        for ref in refs:
            add_account(uow.connection, ref)
        entities = (*(f"account:{CONNECTION}/{ref}" for ref in refs), f"destination:{THIEF}")
        incident = IncidentId(add_incident(uow.connection, entities))
    respond.plan(scene.desk, incident)
    return incident


def add_people(scene: Scene) -> None:
    now = scene.clock.now()
    everybody: dict[str, int | None] = {**ON_CALL, "per_off": None}
    with scene.db.begin() as uow:
        uow.connection.execute(insert(channels).values(id="page", kind="webhook", config={}, created_at=now))
        for person, level in everybody.items():
            uow.connection.execute(
                insert(people).values(
                    id=person,
                    name=person,
                    email=f"{person}@example.org",
                    roles=["responder"],
                    oncall_level=level,
                    channels=[{"channel": "page", "recipient": f"pager of {person}"}],
                    state="active",
                    created_at=now,
                )
            )


def reached(scene: Scene) -> list[dict[str, str]]:
    with scene.db.begin() as uow:
        wanted = select(outbox.c.payload).where(outbox.c.event == "blast_limit_reached")
        return list(uow.connection.execute(wanted).scalars())


def paged(scene: Scene) -> list[tuple[str, int, str]]:
    with scene.db.begin() as uow:
        found = uow.connection.execute(select(escalations).order_by(escalations.c.person_id))
        return [(row.person_id, row.level, row.reason) for row in found]


def told(scene: Scene, kind: str) -> int:
    with scene.db.begin() as uow:
        return len(uow.connection.execute(select(timeline.c.id).where(timeline.c.kind == kind)).all())


def test_within_the_limit_nobody_more_is_paged(scene: Scene) -> None:
    a_drain(scene, LIMIT)
    assert reached(scene) == []
    assert told(scene, "plan.blast_limit_reached") == 0


def test_a_plan_beyond_the_limit_says_so_once_and_its_event_pages(scene: Scene) -> None:
    incident = a_drain(scene, LIMIT + 4)
    (payload,) = reached(scene)
    assert payload["incident_id"] == incident
    assert jobs_of("blast_limit_reached", payload) == ("escalate.everyone",)
    assert told(scene, "plan.blast_limit_reached") == 1


def test_everyone_on_call_is_paged_whatever_the_level_and_once(scene: Scene) -> None:
    add_people(scene)
    incident = a_drain(scene, LIMIT + 1)
    for _ in range(3):
        escalate.everyone(scene.db, incident)
    assert paged(scene) == [(person, level, escalate.BLAST_LIMIT) for person, level in sorted(ON_CALL.items())]
    assert told(scene, "escalation.everyone_paged") == 1
    with scene.db.begin() as uow:
        sent = uow.connection.execute(select(messages)).all()
    assert sorted(m.recipient for m in sent) == sorted(f"pager of {person}" for person in ON_CALL)
    assert {m.state for m in sent} == {"queued"}
    assert all("blast radius is used up" in m.body for m in sent)


def test_who_was_paged_as_level_one_is_paged_for_this_too(scene: Scene) -> None:
    add_people(scene)
    incident = a_drain(scene, LIMIT + 1)
    escalate.start(scene.db, incident)
    escalate.everyone(scene.db, incident)
    reasons = {reason for person, _, reason in paged(scene) if person == "per_1"}
    assert reasons == {"on_call", escalate.BLAST_LIMIT}


def test_acknowledging_before_does_not_keep_it_quiet_but_closing_does(scene: Scene) -> None:
    add_people(scene)
    incident = a_drain(scene, LIMIT + 1)
    with scene.db.begin() as uow:
        uow.connection.execute(update(incidents).values(state="closed", acknowledged_at=uow.now))
    escalate.everyone(scene.db, incident)
    assert paged(scene) == []
    with scene.db.begin() as uow:
        uow.connection.execute(update(incidents).values(state="open"))
    escalate.everyone(scene.db, incident)
    assert len(paged(scene)) == len(ON_CALL)


def test_with_nobody_on_call_that_is_said(scene: Scene) -> None:
    incident = a_drain(scene, LIMIT + 1)
    escalate.everyone(scene.db, incident)
    with scene.db.begin() as uow:
        wanted = select(timeline.c.sentence).where(timeline.c.kind == "escalation.everyone_paged")
        assert "nobody" in uow.connection.execute(wanted).scalar_one()


def test_an_invented_message_pages_nobody(scene: Scene) -> None:
    """Neither by the broker alone, nor with the timeline entry that every role of the database may write."""
    add_people(scene)
    incident = a_drain(scene, LIMIT)
    with scene.db.begin() as uow:
        entry = Entry(kind="plan.blast_limit_reached", at=uow.now, subject="pln_1", sentence="x", incident_id=incident)
        uow.record(entry)
    with pytest.raises(ForbiddenError, match="nobody is paged"):
        escalate.everyone(scene.db, incident)
    assert paged(scene) == []


def test_when_the_guardian_s_hour_is_used_up_everyone_on_call_is_paged_once_and_nobody_for_an_invention(
    scene: Scene,
) -> None:
    add_people(scene)
    chain, hour = "eip155:1", "2026-11-23T05"
    for times, what in enumerate(Spent, 1):
        for invented in (what, "neither"):
            with pytest.raises(ForbiddenError, match="nobody is paged"):
                spent.guardian(scene.db, chain, hour, invented)
        with scene.db.begin() as uow:
            uow.once(guardian_note(chain, hour, what))
        for _ in range(2):
            spent.guardian(scene.db, chain, hour, what)
        with scene.db.begin() as uow:
            sent = uow.connection.execute(select(messages)).all()
        assert sorted(m.recipient for m in sent) == sorted([f"pager of {person}" for person in ON_CALL] * times)
        assert all(chain in m.subject and m.page for m in sent)
    locks_wait = [m for m in sent if "Locks, owner changes and sweeps wait" in m.body]
    assert len(locks_wait) == len(ON_CALL)
    assert jobs_of("guardian_spent", {"chain": chain, "hour": hour, "what": what}) == ("escalate.guardian",)


def test_destinations_and_credentials_have_a_limit_of_their_own_for_all_incidents_of_the_hour(scene: Scene) -> None:
    most = OTHERS_PER_ACCOUNT * LIMIT
    first = tuple(f"destination:eip155:1:0x{n:040x}" for n in range(1, most + 2))
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "hot-1")
        one = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/hot-1", *first)))
        two = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/hot-1", f"destination:{THIEF}")))
        again = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/hot-1", first[0])))
    states = []
    for incident in (one, two, again):
        respond.plan(scene.desk, incident)
        states.append([s.state for s in scene.steps(incident).values() if s.action == "lock_destination"])
    ready = [sum(state is StepState.READY for state in found) for found in states]
    assert ready == [most, 0, 1], "what was aimed at before costs nothing"
    assert [len(found) for found in states] == [most + 1, 1, 1]
    assert {payload["incident_id"] for payload in reached(scene)} == {one, two}


def test_a_bait_that_locks_every_multisig_nearby_leaves_the_hour_to_what_alerts_name(scene: Scene) -> None:
    """Named by an alert, a Safe is locked at once even after a bait had all that is near locked, twice over."""
    refs = [f"eip155:1:0x{n:040x}" for n in range(1, LIMIT + 4)]
    kind = "signing_tampering"
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        for ref in refs:
            add_account(uow.connection, ref, holder="multisig")
        bait = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/{refs[0]}",), kind=kind))
        more = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/{refs[1]}",), kind=kind))
        true = IncidentId(add_incident(uow.connection, (f"account:{CONNECTION}/{refs[-1]}",)))
    locks = []
    for incident in (bait, more):
        respond.plan(scene.desk, incident)
        locks.append(
            {at: step.state for (action, at), step in scene.steps(incident).items() if action == "lock_multisig"}
        )
    ready = [{at for at, state in found.items() if state is StepState.READY} for found in locks]
    assert len(ready[0]) == 1 + LIMIT, "the named one and as many near it as the hour's limit"
    assert ready[1] <= ready[0] | {refs[1]}, "a second bait locks nothing more that is merely near"
    assert set(locks[1]) - ready[1], "what is beyond waits for people, of whom there are none here"
    respond.plan(scene.desk, true)
    tightening = [step for step in scene.steps(true).values() if step.effect is Effect.TIGHTENS]
    assert {step.state for step in tightening if not step.after and step.target.kind == "account"} == {StepState.READY}
    with scene.db.begin() as uow:
        touched = uow.plans.touched_targets(ConnectionId(CONNECTION), uow.now - timedelta(hours=1))
    assert Touched("account", refs[-1], nearby=False) in touched


@contextmanager
def counted(scene: Scene) -> Iterator[list[str]]:
    statements: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(scene.db.engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(scene.db.engine, "before_cursor_execute", note)


def statements_to_extend(scene: Scene, behind: int) -> int:
    """Let as many more accounts stand behind the connection and count what it takes to look at them."""
    with scene.db.begin() as uow:
        for n in range(behind):
            account = add_account(uow.connection, f"behind-{behind}-{n}")
            uow.connection.execute(
                insert(safe_destinations).values(
                    account_id=account,
                    chain="eip155:1",
                    descriptor=f"0xsafe{behind}{n}",
                    active_from=uow.now - timedelta(hours=1),
                    statement="{}",
                    statement_signature=b"s",
                    created_at=uow.now,
                )
            )
    with scene.db.begin() as uow:
        (incident,) = uow.connection.execute(select(incidents.c.id)).scalars()
    with counted(scene) as statements:
        respond.extend(scene.desk, IncidentId(incident))
    return len(statements)


def test_looking_costs_as_many_queries_for_thirty_accounts_as_for_three(scene: Scene) -> None:
    a_drain(scene, 1)
    assert statements_to_extend(scene, 3) == statements_to_extend(scene, 30)


def test_two_plans_at_once_take_one_allowance(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first stops when it has looked, until the second waits for it, or has taken the same allowance and ended."""
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        both = [IncidentId(add_incident(uow.connection, tuple(harmed(uow.connection, name)))) for name in "ab"]
    second = Thread(target=respond.plan, args=(scene.desk, both[1]))

    def stopped(uow: UnitOfWork, looked: Looked, *known: Any) -> Looked:
        if second.ident is None:
            second.start()
            while second.is_alive() and not somebody_waits(scene):
                sleep(0.01)
        return possible(uow, looked, *known)

    monkeypatch.setattr(respond, "possible", stopped)
    respond.plan(scene.desk, both[0])
    second.join()
    going = [s for one in both for s in scene.steps(one).values() if s.action == "suspend_withdrawals"]
    assert sum(s.state is StepState.READY for s in going) == LIMIT


def harmed(at: Connection, name: str) -> Iterator[str]:
    for n in range(LIMIT):
        add_account(at, f"{name}-{n}")
        yield f"account:{CONNECTION}/{name}-{n}"


def somebody_waits(scene: Scene) -> bool:
    waits = "SELECT 1 FROM pg_locks JOIN pg_database d ON d.oid = database WHERE locktype = 'advisory' AND NOT granted"
    with scene.db.begin() as uow:
        return uow.connection.execute(text(f"{waits} AND datname = current_database()")).first() is not None
