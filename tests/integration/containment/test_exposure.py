"""How far containment goes on real rows: one leaf's account where our gate approved, the whole wallet where it did not."""

from datetime import UTC, datetime
from decimal import Decimal

import pytest
from sqlalchemy import insert

from service.domain.ids import IncidentId, new_id
from service.flow import respond
from service.store.tables.activity import activities, decisions, transactions
from service.store.tables.incident import alerts
from service.store.tables.keys import safe_destinations
from tests.integration.containment.conftest import Scene
from tests.support.incidents import CONNECTION, THIEF, add_account, add_connection, add_incident

pytestmark = pytest.mark.servers

WALLET = {"a-1", "a-2", "b-1"}
ACCOUNT_OF_A = {"a-1", "a-2"}
TRANSACTION = "tx-1"


def a_theft(
    scene: Scene,
    *,
    kind: str = "withdrawal.confirmed",
    state: str = "confirmed",
    gate: str | None = None,
    to: str = THIEF,
    transaction: str | None = TRANSACTION,
) -> IncidentId:
    """An alerted transfer from a-1, and what the gate had said about it (None: never asked)."""
    now = datetime.now(UTC)
    with scene.db.begin() as uow:
        at = uow.connection
        add_connection(at)
        for ref in sorted(WALLET):
            path = "m/44h/60h/0h" if ref in ACCOUNT_OF_A else "m/44h/60h/1h"
            add_account(at, ref, holder="vault_key", wallet="wal-1", path=path)
        add_account(at, "z-1", holder="vault_key", wallet="wal-2", path="m/44h/60h/0h")
        incident = add_incident(at, (f"account:{CONNECTION}/a-1", f"destination:{to}"))
        about = {"connection_id": CONNECTION, "account": "a-1", "destination": to}
        at.execute(
            insert(activities).values(
                **about,
                id=at.execute(alerts.select()).one().activity_id,
                event_id="e-1",
                body_digest=b"d",
                kind=kind,
                status="scored",
                occurred_at=now,
                received_at=now,
                transaction=transaction,
                decision="hold",
                raw=b"{}",
            )
        )
        if transaction is not None:
            at.execute(
                insert(transactions).values(
                    **about, ref=transaction, activity_id="act-1", state=state, decision="hold", updated_at=now,
                    amount_usd=Decimal(1_000_000),
                )
            )  # fmt: skip
        if gate is not None:
            at.execute(
                insert(decisions).values(
                    **about, request_id="req-1", id=new_id("dec"), body_digest=b"d", transaction=transaction,
                    decision=gate, reasons="[]", created_at=now,
                )
            )  # fmt: skip
    return IncidentId(incident)


def planned(scene: Scene, incident: IncidentId) -> tuple[str, dict[str, set[str]]]:
    """What the plan says is proven, and the accounts of each action."""
    respond.plan(scene.desk, incident)
    reach: dict[str, set[str]] = {}
    for action, target in scene.steps(incident):
        reach.setdefault(action, set()).add(target)
    with scene.db.begin() as uow:
        (made,) = uow.plans.of_incident(incident)
    return made.compromised, reach


@pytest.mark.parametrize(
    ("kind", "state", "gate", "transaction"),
    [
        ("withdrawal.confirmed", "confirmed", None, TRANSACTION),
        ("withdrawal.requested", "broadcast", None, TRANSACTION),
        ("withdrawal.broadcast", "failed", None, TRANSACTION),
        ("withdrawal.confirmed", "confirmed", "hold", TRANSACTION),
        ("withdrawal.confirmed", "confirmed", None, None),
    ],
)
def test_signed_past_our_gate_the_whole_wallet_is_contained_and_the_plan_says_what_is_proven(
    scene: Scene, kind: str, state: str, gate: str | None, transaction: str | None
) -> None:
    incident = a_theft(scene, kind=kind, state=state, gate=gate, transaction=transaction)
    proven, reach = planned(scene, incident)
    assert proven == "leaf"
    for action in ("suspend_withdrawals", "cancel_pending", "restrict_key", "prepare_rotation", "sweep_to_safe"):
        assert reach[action] == WALLET, action
    found = scene.steps(incident)
    assert {s.params["scope"] for (action, _), s in found.items() if action == "prepare_rotation"} == {"seed"}
    with scene.db.begin() as uow:
        (made,) = uow.plans.of_incident(incident)
        assert "signed a transfer past our gate" in uow.plans.document(made.id)


@pytest.mark.parametrize(
    ("kind", "state", "gate", "to"),
    [
        ("withdrawal.confirmed", "confirmed", "approve", THIEF),
        ("withdrawal.requested", "requested", None, THIEF),
        ("withdrawal.requested", "cancelled", "hold", THIEF),
        ("withdrawal.confirmed", "confirmed", None, "eip155:1:0xSAFE"),
    ],
)
def test_where_the_gate_approved_or_nothing_is_signed_only_what_is_proven_is_contained(
    scene: Scene, kind: str, state: str, gate: str | None, to: str
) -> None:
    incident = a_theft(scene, kind=kind, state=state, gate=gate, to=to)
    add_safe_destination(scene, b"the vault's")
    proven, reach = planned(scene, incident)
    assert proven == "leaf"
    assert reach["suspend_withdrawals"] == reach["restrict_key"] == ACCOUNT_OF_A


def test_a_destination_that_the_vault_did_not_sign_excuses_no_transfer(scene: Scene) -> None:
    """The API may insert such a row for the thief's address, but not the vault's signature."""
    incident = a_theft(scene, kind="withdrawal.confirmed", state="confirmed", gate=None, to="eip155:1:0xSAFE")
    add_safe_destination(scene, None)
    _, reach = planned(scene, incident)
    assert reach["suspend_withdrawals"] == WALLET


def add_safe_destination(scene: Scene, signature: bytes | None) -> None:
    with scene.db.begin() as uow:
        account = uow.registry.accounts_sharing("wal-2")[0].id
        uow.connection.execute(
            insert(safe_destinations).values(
                account_id=account, chain="eip155:1", descriptor="0xsafe", active_from=datetime.now(UTC),
                statement="{}", statement_signature=b"s", signature=signature, created_at=datetime.now(UTC),
            )
        )  # fmt: skip
