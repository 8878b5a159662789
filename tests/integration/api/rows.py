"""Rows that the API's tests read: activities, steps, reviews, messages."""

from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import Connection, insert

from service.domain.ids import new_id
from service.store.tables.activity import activities
from service.store.tables.attention import messages, reviews
from service.store.tables.incident import plans, steps

REASONS = '[{"feature":"amount_usd","observed":"5","usual":"1","share":2.5}]'


def add_activity(at: Connection, **changes: object) -> str:
    identity = new_id("act")
    row: dict[str, object] = {
        "id": identity,
        "connection_id": "con-a",
        "event_id": identity,
        "body_digest": b"\x01" * 32,
        "kind": "withdrawal.requested",
        "status": "scored",
        "occurred_at": datetime.now(UTC),
        "received_at": datetime.now(UTC),
        "account": "hot-1",
        "amount_base_units": Decimal(10) ** 40,
        "amount_usd": Decimal("12.50"),
        "score": 1.5,
        "p_value": 0.01,
        "decision": "allow",
        "reasons": REASONS,
        "detectors": ["d"],
        "raw": b'{"secret of the body": 1}\xff',
    }
    at.execute(insert(activities).values(row | changes))
    return identity


def add_step(at: Connection, incident: str, *, effect: str = "tightens", action: str = "suspend_withdrawals") -> str:
    now = datetime.now(UTC)
    plan, identity = new_id("pln"), new_id("stp")
    at.execute(
        insert(plans).values(
            id=plan,
            incident_id=incident,
            playbook="drain",
            playbook_digest="d",
            policy_digest="p",
            compromised="none",
            digest=plan,
            document="{}",
            created_at=now,
        )
    )
    at.execute(
        insert(steps).values(
            id=identity,
            plan_id=plan,
            incident_id=incident,
            position=0,
            action=action,
            target={"kind": "account", "connection": "con-a", "value": "hot-1", "account": None},
            params={},
            effect=effect,
            lane="containment",
            state="done",
            idempotency_key=f"key-of-{identity}",
            created_at=now,
        )
    )
    return identity


def add_message(at: Connection, incident: str) -> str:
    identity = new_id("msg")
    at.execute(
        insert(messages).values(
            id=identity,
            incident_id=incident,
            audience="users",
            channel="mail",
            recipient="somebody@example.org",
            subject="About your account",
            body="The body of the message",
            state="held",
            idempotency_key=identity,
            created_at=datetime.now(UTC),
        )
    )
    return identity


def add_review(at: Connection, incident: str, html: str = "<!doctype html><title>Review</title>") -> None:
    at.execute(
        insert(reviews).values(
            incident_id=incident,
            body='{"v": 1}',
            html=html,
            created_at=datetime.now(UTC),
        )
    )
