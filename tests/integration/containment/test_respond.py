"""Plans on real rows: what goes at once, what waits, what is compromised, and when an incident is contained."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import insert, update

from service.domain.canonical import canonical, digest
from service.domain.ids import IncidentId, StepId, new_id
from service.domain.plan import Lane, StepState, Target
from service.flow import contain, respond
from service.store.tables.activity import activities
from service.store.tables.incident import incidents
from tests.integration.containment.conftest import ACTIONS, Scene
from tests.support.incidents import CONNECTION, THIEF, add_account, add_alert, add_connection, add_incident

pytestmark = pytest.mark.servers


def a_drain(scene: Scene, *refs: str, **more: object) -> str:
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        for ref in refs:
            add_account(uow.connection, ref)
        entities = (*(f"account:{CONNECTION}/{ref}" for ref in refs), f"destination:{THIEF}", f"actor:{CONNECTION}/ops")
        return add_incident(uow.connection, entities, **more)  # type: ignore[arg-type]  # kind, severity or state


def run_everything(scene: Scene, incident: str) -> None:
    for _ in range(3):
        for step in scene.steps(incident).values():
            contain.step(scene.hands(step.lane), step.id)
        for step in scene.steps(incident).values():
            respond.advance(scene.desk, step.id)


def row(scene: Scene, incident: str) -> dict[str, object]:
    with scene.db.begin() as uow:
        found = uow.incidents.incident(IncidentId(incident))
        return {"state": found.state.value, "held_at": found.held_at, "contained_at": found.contained_at}


def test_tightening_steps_are_ready_at_once_each_with_its_event(scene: Scene) -> None:
    incident = a_drain(scene, "hot-1", "hot-2")
    respond.plan(scene.desk, IncidentId(incident))
    found = scene.steps(incident)
    assert {name for name, step in found.items() if step.state is StepState.READY} == {
        ("suspend_withdrawals", "hot-1"),
        ("suspend_withdrawals", "hot-2"),
        ("cancel_pending", "hot-1"),
        ("cancel_pending", "hot-2"),
        ("lock_destination", THIEF),
        ("forbid_one_time_addresses", CONNECTION),
    }
    with scene.db.begin() as uow:
        ready = uow.connection.exec_driver_sql("SELECT count(*) FROM outbox WHERE event = 'step_ready'").scalar_one()
    assert ready == len(found)


def test_planning_twice_plans_once(scene: Scene) -> None:
    incident = a_drain(scene, "hot-1")
    respond.plan(scene.desk, IncidentId(incident))
    before = scene.steps(incident)
    respond.plan(scene.desk, IncidentId(incident))
    respond.extend(scene.desk, IncidentId(incident))
    assert scene.steps(incident) == before


def test_the_digest_covers_what_is_stored(scene: Scene) -> None:
    incident = a_drain(scene, "hot-1")
    respond.plan(scene.desk, IncidentId(incident))
    with scene.db.begin() as uow:
        (made,) = uow.plans.of_incident(IncidentId(incident))
        text = uow.plans.document(made.id)
    import json  # noqa: PLC0415  only this test reads a document back

    assert canonical(json.loads(text)).decode() == text
    assert digest(respond.PLAN_TAG, json.loads(text)) == made.digest
    assert all(step.id in text for step in made.steps)


def test_a_wider_incident_plans_only_what_is_new(scene: Scene) -> None:
    incident = a_drain(scene, "hot-1")
    respond.plan(scene.desk, IncidentId(incident))
    with scene.db.begin() as uow:
        add_account(uow.connection, "hot-2")
        add_alert(uow.connection, incident, (f"account:{CONNECTION}/hot-2",))
    respond.extend(scene.desk, IncidentId(incident))
    with scene.db.begin() as uow:
        first, second = uow.plans.of_incident(IncidentId(incident))
    assert {s.target.value for s in second.steps} == {"hot-2"}
    assert not {s.id for s in first.steps} & {s.id for s in second.steps}


def another_alert(scene: Scene, incident: str, ref: str, **more: str) -> None:
    with scene.db.begin() as uow:
        add_alert(uow.connection, incident, (f"account:{CONNECTION}/{ref}",), **more)
    respond.extend(scene.desk, IncidentId(incident))


def test_what_a_hold_leaves_pending_is_cancelled_again_where_an_alert_comes_later(scene: Scene) -> None:
    incident = a_drain(scene, "hot-1", "hot-2")
    respond.plan(scene.desk, IncidentId(incident))
    run_everything(scene, incident)
    before = scene.steps(incident)
    another_alert(scene, incident, "hot-2")
    another_alert(scene, incident, "hot-2")
    found = scene.steps(incident)
    assert {name for name in found if found[name].id != before[name].id} == {("cancel_pending", "hot-2")}
    with scene.db.begin() as uow:
        assert len(uow.plans.of_incident(IncidentId(incident))) == 2, "what waits to be done covers the next alert, too"


@pytest.mark.parametrize(
    ("ended", "again"),
    [
        ({"state": "failed"}, True),
        ({"state": "expired"}, True),
        ({"state": "refused"}, True),
        ({"state": "refused", "fence": 7}, False),
        ({"state": "unknown"}, False),
    ],
)
def test_a_hold_that_came_to_nothing_is_tried_again_where_an_alert_comes_later(
    scene: Scene, ended: dict[str, object], *, again: bool
) -> None:
    """What a worker found to be impossible would be so again, and people were told."""
    incident = a_drain(scene, "hot-1", "hot-2")
    respond.plan(scene.desk, IncidentId(incident))
    held = scene.steps(incident)["suspend_withdrawals", "hot-1"]
    scene.overwrite(held.id, **ended)
    another_alert(scene, incident, "hot-2")
    assert scene.steps(incident)["suspend_withdrawals", "hot-1"].id == held.id, "that alert names another account"
    another_alert(scene, incident, "hot-1")
    assert (scene.steps(incident)["suspend_withdrawals", "hot-1"].id != held.id) is again
    run_everything(scene, incident)
    assert not again or row(scene, incident)["state"] == "contained"


def test_an_incident_is_planned_by_the_kinds_of_all_its_alerts(scene: Scene) -> None:
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "cold", holder="vault_key", wallet="wal-1", path="m/44'/60'/0'")
        add_account(uow.connection, "safe", holder="multisig")
        incident = add_incident(uow.connection, (f"actor:{CONNECTION}/ops",), kind="account_takeover")
    respond.plan(scene.desk, IncidentId(incident))
    another_alert(scene, incident, "cold", kind="drain")
    another_alert(scene, incident, "safe", kind="signing_tampering")
    planned = {(action, target) for action, target in scene.steps(incident)}
    assert {("revoke_credential", "ops"), ("restrict_key", "cold"), ("sweep_to_safe", "cold")} <= planned
    assert ("lock_multisig", "safe") in planned
    with scene.db.begin() as uow:
        plans = uow.plans.of_incident(IncidentId(incident))
    assert [one.playbook for one in plans] == [
        "account_takeover",
        "drain + account_takeover",
        "drain + account_takeover + signing_tampering",
    ]
    assert [one.alerts for one in plans] == [1, 2, 3]
    respond.request(scene.desk, IncidentId(incident), "raise_threshold", "per_1")


def test_an_account_that_is_not_registered_is_never_touched(scene: Scene) -> None:
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/stranger",))
    respond.plan(scene.desk, IncidentId(incident))
    assert not any(target == "stranger" for _, target in scene.steps(incident))


def test_a_destination_of_our_own_is_never_locked(scene: Scene) -> None:
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "hot-1")
        uow.connection.exec_driver_sql("UPDATE accounts SET addresses = ARRAY['eip155:1:0xAbC']")
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/hot-1", "destination:eip155:1:0xabc"))
    respond.plan(scene.desk, IncidentId(incident))
    assert not any(action == "lock_destination" for action, _ in scene.steps(incident))


def test_a_low_incident_gets_a_plan_without_steps(scene: Scene) -> None:
    incident = a_drain(scene, "hot-1", severity=2)
    respond.plan(scene.desk, IncidentId(incident))
    with scene.db.begin() as uow:
        (made,) = uow.plans.of_incident(IncidentId(incident))
    assert made.steps == ()


@pytest.mark.parametrize(
    ("harmed", "scope", "restricted"),
    [
        (("a-1",), "leaf", {"a-1", "a-2"}),
        (("a-1", "a-2"), "account_key", {"a-1", "a-2"}),
        (("a-1", "b-1"), "seed", {"a-1", "a-2", "b-1", "b-2"}),
    ],
)
def test_the_plan_says_what_is_compromised_and_covers_all_that_falls_with_it(
    scene: Scene, harmed: tuple[str, ...], scope: str, restricted: set[str]
) -> None:
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        for ref in ("a-1", "a-2", "b-1", "b-2"):
            path = "m/44'/60'/0'" if ref[0] == "a" else "m/44'/60'/1'"
            add_account(uow.connection, ref, holder="vault_key", wallet="wal-1", path=path)
        incident = add_incident(uow.connection, tuple(f"account:{CONNECTION}/{ref}" for ref in harmed))
    respond.plan(scene.desk, IncidentId(incident))
    found = scene.steps(incident)
    with scene.db.begin() as uow:
        (made,) = uow.plans.of_incident(IncidentId(incident))
    assert made.compromised == scope
    assert {target for action, target in found if action == "restrict_key"} == restricted
    assert {target for action, target in found if action == "suspend_withdrawals"} == restricted
    assert {s.params["scope"] for (action, _), s in found.items() if action == "prepare_rotation"} == {scope}


def test_a_sweep_without_a_safe_destination_is_planned_as_refused_and_blocks_containment(scene: Scene) -> None:
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "a-1", holder="vault_key", wallet="wal-1", path="m/44'/60'/0'")
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/a-1",))
    respond.plan(scene.desk, IncidentId(incident))
    sweep = scene.steps(incident)["sweep_to_safe", "a-1"]
    assert sweep.state is StepState.REFUSED
    assert sweep.reason is not None
    assert "safe destination" in sweep.reason
    run_everything(scene, incident)
    assert row(scene, incident)["held_at"] is not None
    assert row(scene, incident)["contained_at"] is None, "who holds the keys is not stopped by a suspension"


def test_everything_that_tightens_holds_so_it_is_contained(scene: Scene) -> None:
    incident = a_drain(scene, "hot-1")
    respond.plan(scene.desk, IncidentId(incident))
    run_everything(scene, incident)
    assert row(scene, incident)["state"] == "contained"
    assert row(scene, incident)["held_at"] is not None


def test_what_is_unknown_keeps_it_open(scene: Scene) -> None:
    incident = a_drain(scene, "hot-1")
    respond.plan(scene.desk, IncidentId(incident))
    scene.ledger.lose_next_answer = scene.ledger.blind = True
    run_everything(scene, incident)
    assert row(scene, incident)["state"] == "open"


def test_a_contained_incident_that_widens_is_open_again(scene: Scene) -> None:
    incident = a_drain(scene, "hot-1")
    respond.plan(scene.desk, IncidentId(incident))
    run_everything(scene, incident)
    with scene.db.begin() as uow:
        add_account(uow.connection, "hot-2")
        add_alert(uow.connection, incident, (f"account:{CONNECTION}/hot-2",))
    respond.extend(scene.desk, IncidentId(incident))
    assert row(scene, incident) == row(scene, incident) | {"state": "open", "contained_at": None}


def test_beyond_the_blast_radius_nothing_runs_by_itself(scene: Scene) -> None:
    refs = [f"hot-{n:02}" for n in range(14)]
    incident = a_drain(scene, *refs)
    respond.plan(scene.desk, IncidentId(incident))
    suspended = {t: s for (a, t), s in scene.steps(incident).items() if a == "suspend_withdrawals"}
    assert [t for t, s in sorted(suspended.items()) if s.state is StepState.READY] == refs[:10]
    rest = [s for s in suspended.values() if s.state is not StepState.READY]
    # No policy is signed here, so nobody can be asked: they are refused, and say so.
    assert {s.state for s in rest} == {StepState.REFUSED}
    assert all("approval" in str(s.reason) for s in rest)
    run_everything(scene, incident)
    assert sum(effect.startswith("hold ") for effect in scene.ledger.holding) == len(refs[:10])


def test_the_blast_radius_counts_value_too(scene: Scene) -> None:
    incident = a_drain(scene, "rich", "poor")
    with scene.db.begin() as uow:
        uow.connection.execute(
            insert(activities).values(
                id=new_id("act"),
                connection_id=CONNECTION,
                event_id="e-1",
                body_digest=b"d",
                kind="deposit.confirmed",
                account="rich",
                occurred_at=datetime.now(UTC),
                received_at=datetime.now(UTC),
                balance_usd=Decimal(20_000_000),
                status="stored",
                raw=b"{}",
            )
        )
    respond.plan(scene.desk, IncidentId(incident))
    found = scene.steps(incident)
    assert found["suspend_withdrawals", "rich"].state is StepState.REFUSED
    assert found["suspend_withdrawals", "poor"].state is StepState.READY


def test_the_hour_s_blast_radius_is_shared_by_incidents(scene: Scene) -> None:
    first = a_drain(scene, *[f"hot-{n:02}" for n in range(10)])
    respond.plan(scene.desk, IncidentId(first))
    with scene.db.begin() as uow:
        add_account(uow.connection, "hot-99")
        refs = ("hot-99", "hot-00")
        second = add_incident(uow.connection, tuple(f"account:{CONNECTION}/{ref}" for ref in refs))
    respond.plan(scene.desk, IncidentId(second))
    found = scene.steps(second)
    assert found["suspend_withdrawals", "hot-99"].state is StepState.REFUSED
    assert found["suspend_withdrawals", "hot-00"].state is StepState.READY, "it counts already"


def test_a_closed_incident_gets_no_plan(scene: Scene) -> None:
    incident = a_drain(scene, "hot-1", state="closed")
    respond.plan(scene.desk, IncidentId(incident))
    assert scene.steps(incident) == {}


def test_a_request_that_is_delivered_twice_is_planned_once(scene: Scene) -> None:
    """A freeze that ends by itself may be asked for while it holds; what was asked for once is not asked for again."""
    incident = IncidentId(a_drain(scene, "hot-1"))
    respond.plan(scene.desk, incident)

    def frozen(name: str) -> int:
        respond.request(scene.desk, incident, "freeze_account", "per_1", name=name)
        with scene.db.begin() as uow:
            found = [s for s in uow.plans.steps_of(incident) if s.action == "freeze_account"]
        for step in found:
            scene.overwrite(step.id, state=StepState.DONE.value, reason=None)
        return len(found)

    assert [frozen(name) for name in ("req_1", "req_1", "req_2", "req_1", "req_2", "req_3")] == [1, 1, 2, 2, 2, 3]


def test_recovery_asks_to_loosen_exactly_what_holds(scene: Scene) -> None:
    incident = a_drain(scene, "hot-1")
    respond.plan(scene.desk, IncidentId(incident))
    run_everything(scene, incident)
    respond.request(scene.desk, IncidentId(incident), respond.RECOVER, "per_1")
    loosening = {name for name, s in scene.steps(incident).items() if s.effect.value == "loosens"}
    assert loosening == {
        ("resume_withdrawals", "hot-1"),
        ("unlock_destination", THIEF),
        ("allow_one_time_addresses", CONNECTION),
    }
    run_everything(scene, incident)
    assert f"hold {CONNECTION}/hot-1" in scene.ledger.holding, "nothing is loosened without votes"


def test_a_target_that_another_incident_holds_is_known(scene: Scene) -> None:
    first = a_drain(scene, "hot-1")
    with scene.db.begin() as uow:
        second = add_incident(uow.connection, (f"account:{CONNECTION}/hot-1",))
    for incident in (first, second):
        respond.plan(scene.desk, IncidentId(incident))
        run_everything(scene, incident)
    held = scene.steps(first)["suspend_withdrawals", "hot-1"]
    assert ACTIONS["suspend_withdrawals"].undone_by == "resume_withdrawals"
    with scene.db.begin() as uow:
        assert uow.plans.also_needed_by(held, ["suspend_withdrawals"]) == (second,)
        uow.connection.execute(update(incidents).where(incidents.c.id == second).values(state="closed"))
        assert uow.plans.also_needed_by(held, ["suspend_withdrawals"]) == ()


def test_a_rotation_is_planned_when_its_address_is_known(scene: Scene) -> None:
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        account = add_account(uow.connection, "a-1", holder="vault_key", wallet="wal-1", path="m/44'/60'/0'")
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/a-1",))
    respond.plan(scene.desk, IncidentId(incident))
    prepare = scene.steps(incident)["prepare_rotation", "a-1"]
    contain.step(scene.hands(Lane.KEYS), prepare.id)
    respond.advance(scene.desk, StepId(prepare.id))
    publish = scene.steps(incident)["publish_address", "a-1"]
    assert publish.params == {"address": f"eip155:1:0xnew-{account}"}
    assert publish.target == Target("account", prepare.target.connection, "a-1")


def test_a_step_whose_predecessor_ended_before_it_was_planned_does_not_wait_for_it(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a safe destination the sweep is refused at once; nothing else will happen that could tell `retire_key`."""
    monkeypatch.setattr(respond, "_needs_approval", lambda *_: False)  # as under a policy, which this scene has not
    with scene.db.begin() as uow:
        add_connection(uow.connection)
        add_account(uow.connection, "a-1", holder="vault_key", wallet="wal-1", path="m/44'/60'/0'")
        incident = add_incident(uow.connection, (f"account:{CONNECTION}/a-1",))
    respond.plan(scene.desk, IncidentId(incident))
    prepare = scene.steps(incident)["prepare_rotation", "a-1"]
    contain.step(scene.hands(Lane.KEYS), prepare.id)
    respond.advance(scene.desk, StepId(prepare.id))
    found = scene.steps(incident)
    assert found["sweep_to_safe", "a-1"].state is StepState.REFUSED
    assert found["retire_key", "a-1"].state is StepState.REFUSED
    assert "was not done" in (found["retire_key", "a-1"].reason or "")
