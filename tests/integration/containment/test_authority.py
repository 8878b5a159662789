"""From a plan's document through real votes, signed in a real token, to the executing worker's own check."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import insert, literal, select, update

from hsm.pkcs11.authority import AuthorityToken
from service.clock import SystemClock
from service.domain.account import AccountRef
from service.domain.approval import ApprovalState
from service.domain.ids import AlertId, ApprovalId, ConnectionId, IncidentId
from service.domain.plan import Lane, Step, StepState
from service.domain.secrets import Secret
from service.domain.setup import DESTINATION_TAG, RegisteredDestination
from service.flow import approve, contain, respond
from service.flow.triage import triage
from service.store.database import SqlDatabase, create
from service.store.tables.incident import incidents
from service.store.tables.keys import safe_destinations
from tests.integration.containment.conftest import ACTIONS, Scene
from tests.support.authority import House, house_on
from tests.support.fakes import FakePlatform, Ledger
from tests.support.incidents import CONNECTION, THIEF, add_account, add_alert, add_connection, add_incident
from tests.support.response import superuser_do

pytestmark = pytest.mark.servers


@pytest.fixture
def house(fresh_postgres_url: str, votes_token: AuthorityToken, tmp_path: Path) -> Iterator[House]:
    found = house_on(fresh_postgres_url, votes_token, tmp_path)
    found.first = replace(found.first, declared={name: action.approval for name, action in ACTIONS.items()})
    found.add_people(4)
    found.complete()
    yield found
    found.close()


@pytest.fixture
def scene(house: House) -> Scene:
    ledger = Ledger()
    pem = house.office.public_key_pem
    return Scene(
        house.database("portcullis_containment"),
        house.clock,
        ledger,
        FakePlatform(ledger),
        lambda: pem,
        house.database("portcullis_keys"),
    )


@pytest.fixture
def restriction(scene: Scene, house: House) -> Step:
    """The restriction of a drained account's keys."""
    owner = SqlDatabase(create(Secret(house.superuser_url), pool_size=1), SystemClock())
    with owner.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "a-1", holder="vault_key", wallet="wal-1", path="m/44'/60'/0'")
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/a-1",))
    owner.engine.dispose()
    respond.plan(scene.desk, IncidentId(incident))
    return scene.steps(incident)["restrict_key", "a-1"]


def run(scene: Scene, step: Step) -> None:
    contain.step(scene.hands(step.lane), step.id)
    respond.advance(scene.desk, step.id)


def way_back(scene: Scene, restriction: Step) -> Step:
    """The step that lifts it again and waits for a quorum."""
    run(scene, restriction)
    respond.request(scene.desk, restriction.incident_id, respond.RECOVER, "portcullis")
    return scene.steps(restriction.incident_id)["lift_key_restriction", "a-1"]


def approval_of(step: Step) -> ApprovalId:
    assert step.approval_id is not None, step.reason
    return step.approval_id


def approve_it(scene: Scene, house: House, step: Step) -> None:
    with scene.db.begin() as uow:
        document = uow.approvals.document(approval_of(step))
    for person in list(house.phones)[:2]:
        house.vote(document, person)


def test_with_the_quorum_s_votes_it_runs(scene: Scene, house: House, restriction: Step) -> None:
    waiting = way_back(scene, restriction)
    assert waiting.state is StepState.WAITING_APPROVAL
    contain.step(scene.hands(Lane.KEYS), waiting.id)
    assert scene.step(waiting.id).state is StepState.WAITING_APPROVAL, "not released yet"
    approve_it(scene, house, waiting)
    approve.release(scene.db, approval_of(waiting))
    run(scene, waiting)
    assert scene.step(waiting.id).state is StepState.DONE
    assert scene.step(restriction.id).state is StepState.UNDONE


def test_released_without_votes_it_does_not_run(scene: Scene, restriction: Step) -> None:
    waiting = way_back(scene, restriction)
    with scene.db.begin() as uow:
        uow.plans.release(approval_of(waiting))
    run(scene, waiting)
    assert scene.step(waiting.id).state is StepState.REFUSED
    assert scene.step(restriction.id).state is StepState.DONE


def test_changed_after_the_vote_it_does_not_run(scene: Scene, house: House, restriction: Step) -> None:
    waiting = way_back(scene, restriction)
    approve_it(scene, house, waiting)
    approve.release(scene.db, approval_of(waiting))
    scene.overwrite(waiting.id, params={"more": "than was approved"})
    run(scene, waiting)
    assert scene.step(waiting.id).state is StepState.REFUSED


def test_too_late_it_does_not_run(scene: Scene, house: House, restriction: Step) -> None:
    waiting = way_back(scene, restriction)
    approve_it(scene, house, waiting)
    approve.release(scene.db, approval_of(waiting))
    house.clock.pass_by(timedelta(days=2))
    run(scene, waiting)
    assert scene.step(waiting.id).state is StepState.REFUSED


def closed(house: House, incident: str, verdict: str) -> None:
    superuser_do(house, update(incidents).where(incidents.c.id == incident).values(state="closed", verdict=verdict))


def publishing(scene: Scene, house: House, restriction: Step) -> Step:
    """The publishing of a drained account's new address, approved and released."""
    run(scene, scene.steps(restriction.incident_id)["prepare_rotation", "a-1"])
    planned = scene.steps(restriction.incident_id)["publish_address", "a-1"]
    approve_it(scene, house, planned)
    approve.release(scene.db, approval_of(planned))
    return planned


@pytest.mark.parametrize(
    ("state", "verdict", "found"),
    [
        ("ready", "true_positive", "refused"),
        ("running", "true_positive", "done"),
        ("running", "false_positive", "refused"),
    ],
)
def test_once_its_incident_is_closed_nothing_irreversible_begins_nor_goes_on_where_it_was_false(
    scene: Scene, house: House, restriction: Step, state: str, verdict: str, found: str
) -> None:
    planned = publishing(scene, house, restriction)
    scene.overwrite(planned.id, state=state)
    closed(house, planned.incident_id, verdict)
    run(scene, planned)
    assert scene.step(planned.id).state.value == found


def test_closing_ends_what_was_asked_for_but_loosening(scene: Scene, house: House, restriction: Step) -> None:
    planned, lifting = publishing(scene, house, restriction), way_back(scene, restriction)
    approve.closed(scene.db, planned.incident_id)
    closed(house, planned.incident_id, "inconclusive")
    with scene.db.begin() as uow:
        first, second = (uow.approvals.document(approval_of(step)) for step in (planned, lifting))
        assert uow.approvals.row(first.id).state is ApprovalState.APPROVED, "it was open"
    assert "is not closed" in first.preconditions[0]
    assert "closed" not in second.preconditions[0]
    approve.closed(scene.db, planned.incident_id)
    approve.ended(scene.db, first.id)
    assert scene.step(planned.id).state is StepState.REFUSED
    house.clock.pass_by(timedelta(minutes=2))  # new codes
    approve_it(scene, house, lifting)
    approve.release(scene.db, second.id)
    run(scene, lifting)
    assert scene.step(lifting.id).state is StepState.DONE


def state_destination(house: House, descriptor: str) -> None:
    """Register a destination of a-1 as the authority does, active at once, signed by a vault."""
    owner = SqlDatabase(create(Secret(house.superuser_url), pool_size=1), house.clock)
    with owner.begin() as uow:
        account = uow.registry.account_at(AccountRef(ConnectionId(CONNECTION), "a-1"))
        assert account is not None
        said = RegisteredDestination(
            tag=DESTINATION_TAG,
            account=account.id,
            connection=CONNECTION,
            ref="a-1",
            chain="eip155:1",
            descriptor=descriptor,
            active_from=uow.now,
            approval="setup",
        )
        signed = house.office.sign(said.text)
        values = {
            "account_id": account.id,
            "chain": said.chain,
            "active_from": said.active_from,
            "descriptor": descriptor,
            "statement": signed.body,
            "statement_signature": signed.signature,
            "signature": b"the vault's",
            "created_at": uow.now,
        }
        uow.connection.execute(safe_destinations.insert().values(values))
    owner.engine.dispose()


@pytest.mark.parametrize("replaced", [False, True])
def test_a_sweep_goes_only_where_the_approvers_saw_it_go(scene: Scene, house: House, *, replaced: bool) -> None:
    owner = SqlDatabase(create(Secret(house.superuser_url), pool_size=1), SystemClock())
    with owner.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "a-1", holder="vault_key", wallet="wal-1", path="m/44'/60'/0'")
    for number in (1, 2):
        state_destination(house, f"0xsafe{number}")
        house.clock.pass_by(timedelta(seconds=1))
    with owner.begin() as uow:
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/a-1",))
    owner.engine.dispose()
    respond.plan(scene.desk, IncidentId(incident))
    for name in ("suspend_withdrawals", "restrict_key", "prepare_rotation"):
        if (name, "a-1") in scene.steps(incident):
            run(scene, scene.steps(incident)[name, "a-1"])
    sweep = scene.steps(incident)["sweep_to_safe", "a-1"]
    assert sweep.params["destinations"] == [{"chain": "eip155:1", "descriptor": "0xsafe2"}]
    approve_it(scene, house, sweep)
    approve.release(scene.db, approval_of(sweep))
    if replaced:
        state_destination(house, "0xsafe3")
    run(scene, sweep)
    found = scene.step(sweep.id)
    assert (found.state is StepState.REFUSED) is replaced, found
    assert not replaced or "no longer in force" in (found.reason or "")


def test_only_a_safe_destination_that_the_authority_signed_is_never_locked(scene: Scene, house: House) -> None:
    """The API may insert rows, with a genuine statement copied from another row too: the thief's address is locked."""
    owner = SqlDatabase(create(Secret(house.superuser_url), pool_size=1), SystemClock())
    with owner.begin() as uow:
        add_connection(uow.connection)
        for ref in ("a-1", "a-2"):
            add_account(uow.connection, ref)
    state_destination(house, "0xsafe1")
    kept = ("account_id", "chain", "statement", "statement_signature", "created_at")
    later = safe_destinations.c.active_from + timedelta(seconds=1)
    forged = select(literal(THIEF.rpartition(":")[2]), later, *(safe_destinations.c[name] for name in kept))
    with house.database("portcullis_api").begin() as uow:
        uow.connection.execute(insert(safe_destinations).from_select(["descriptor", "active_from", *kept], forged))
    with owner.begin() as uow:
        entities = (f"account:{CONNECTION}/a-2", f"destination:{THIEF}", "destination:eip155:1:0xSAFE1")
        incident = IncidentId(add_incident(uow.connection, entities))
    owner.engine.dispose()
    respond.plan(scene.desk, incident)
    assert {target for action, target in scene.steps(incident) if action == "lock_destination"} == {THIEF}


def test_a_target_that_no_document_can_show_does_not_stop_the_others(scene: Scene, house: House) -> None:
    """An id with a direction mark in it could rearrange what approvers read, so it is never asked for."""
    refs = ("a-1", "a-2", "\u202ea-3", "a-4")
    owner = SqlDatabase(create(Secret(house.superuser_url), pool_size=1), SystemClock())
    with owner.begin() as uow:
        add_connection(uow.connection)
        for number, ref in enumerate(refs):
            add_account(uow.connection, ref, holder="vault_key", wallet=f"wal-{number}", path="m/44'/60'/0'")
        incident = add_incident(uow.connection, tuple(f"account:{CONNECTION}/{ref}" for ref in refs))
    owner.engine.dispose()
    respond.plan(scene.desk, IncidentId(incident))
    for ref in refs:
        run(scene, scene.steps(incident)["restrict_key", ref])
    respond.request(scene.desk, IncidentId(incident), respond.RECOVER, "portcullis")
    found = {ref: scene.steps(incident)["lift_key_restriction", ref] for ref in refs}
    assert found["\u202ea-3"].state is StepState.REFUSED
    assert "printable" in (found["\u202ea-3"].reason or "")
    asked = [found[ref] for ref in refs if ref != "\u202ea-3"]
    assert {step.state for step in asked} == {StepState.WAITING_APPROVAL}
    assert all(step.approval_id is not None for step in asked)


def run_all(scene: Scene, incident: IncidentId) -> None:
    for _ in range(2):
        with scene.db.begin() as uow:
            found = uow.plans.steps_of(incident)
        for step in found:
            run(scene, step)


def an_alert(scene: Scene, house: House, *entities: str) -> IncidentId:
    """Raise an alert as intake does, and triage it."""
    owner = SqlDatabase(create(Secret(house.superuser_url), pool_size=1), SystemClock())
    with owner.begin() as uow:
        alert = AlertId(add_alert(uow.connection, None, entities))
    owner.engine.dispose()
    return triage(scene.db, alert)


@pytest.fixture
def lifting(scene: Scene, house: House, restriction: Step) -> Step:
    """An approved and released step that lifts the restriction, beside one that resumes withdrawals."""
    run_all(scene, restriction.incident_id)
    waiting = way_back(scene, restriction)
    approve_it(scene, house, waiting)
    approve.release(scene.db, approval_of(waiting))
    return scene.step(waiting.id)


@pytest.mark.parametrize("planned", [False, True])
def test_what_was_approved_before_an_alert_on_its_target_does_not_loosen(
    scene: Scene, house: House, lifting: Step, *, planned: bool
) -> None:
    assert an_alert(scene, house, f"account:{CONNECTION}/a-1") == lifting.incident_id
    if planned:
        respond.extend(scene.desk, lifting.incident_id)
        with scene.db.begin() as uow:
            assert uow.approvals.row(approval_of(lifting)).state is ApprovalState.VOID
    run(scene, lifting)
    found = scene.step(lifting.id)
    assert (found.state, "came after it was asked for" in str(found.reason)) == (StepState.REFUSED, True)
    assert scene.steps(lifting.incident_id)["restrict_key", "a-1"].state is StepState.DONE
    assert f"hold {CONNECTION}/a-1" in scene.ledger.holding


def test_an_alert_on_something_else_stops_only_what_it_names(scene: Scene, house: House, lifting: Step) -> None:
    owner = SqlDatabase(create(Secret(house.superuser_url), pool_size=1), SystemClock())
    with owner.begin() as uow:
        add_alert(uow.connection, lifting.incident_id, (f"account:{CONNECTION}/a-2",))
    owner.engine.dispose()
    respond.extend(scene.desk, lifting.incident_id)
    run(scene, lifting)
    assert scene.step(lifting.id).state is StepState.DONE
    everywhere = scene.steps(lifting.incident_id)["allow_one_time_addresses", CONNECTION]
    assert everywhere.state is StepState.REFUSED, "every alert of a connection is on it"


def test_asked_again_after_the_alert_it_may_be_loosened(scene: Scene, house: House, lifting: Step) -> None:
    an_alert(scene, house, f"account:{CONNECTION}/a-1")
    respond.extend(scene.desk, lifting.incident_id)
    respond.request(scene.desk, lifting.incident_id, respond.RECOVER, "portcullis")
    again = scene.steps(lifting.incident_id)["lift_key_restriction", "a-1"]
    assert again.id != lifting.id
    approve_it(scene, house, again)
    approve.release(scene.db, approval_of(again))
    run(scene, again)
    assert scene.step(again.id).state is StepState.DONE


def test_a_theft_after_recovery_is_held_and_told_again(scene: Scene, house: House, lifting: Step) -> None:
    incident = lifting.incident_id
    run_all(scene, incident)
    assert not any(effect.startswith("hold ") for effect in scene.ledger.holding)
    with scene.db.begin() as uow:
        uow.incidents.acknowledge(incident, "per_ada")
        assert uow.incidents.incident(incident).recovered_at is not None
    before = scene.steps(incident)
    assert an_alert(scene, house, f"account:{CONNECTION}/a-1") == incident
    respond.extend(scene.desk, incident)
    anew = {name for name, step in scene.steps(incident).items() if step.id != before[name].id}
    tightened = ("suspend_withdrawals", "cancel_pending", "restrict_key", "replace_pending", "revoke_allowances")
    assert anew == {(action, "a-1") for action in tightened} | {("forbid_one_time_addresses", CONNECTION)}
    run_all(scene, incident)
    assert f"hold {CONNECTION}/a-1" in scene.ledger.holding
    with scene.db.begin() as uow:
        found = uow.incidents.incident(incident)
    assert (found.recovered_at, found.acknowledged_by, found.alarm) == (None, None, 2)
    an_alert(scene, house, f"account:{CONNECTION}/a-1")
    with scene.db.begin() as uow:
        assert uow.incidents.incident(incident).alarm == 2, "held again, nobody is woken for each attempt"


def test_what_is_being_loosened_when_an_alert_comes_is_held_again(scene: Scene, house: House, lifting: Step) -> None:
    """Its worker verified the votes before the alert joined: the call is on its way."""
    held = scene.steps(lifting.incident_id)["restrict_key", "a-1"]
    scene.overwrite(lifting.id, state=StepState.RUNNING.value)
    an_alert(scene, house, f"account:{CONNECTION}/a-1")
    respond.extend(scene.desk, lifting.incident_id)
    again = scene.steps(lifting.incident_id)["restrict_key", "a-1"]
    assert (again.id != held.id, again.state) == (True, StepState.READY)
    assert scene.step(lifting.id).state is StepState.RUNNING, "what was begun is not given up as if nothing happened"
