"""Rows that a containment test starts from: a connection, registered accounts, an alert and its incident."""

from datetime import UTC, datetime
from decimal import Decimal

from sqlalchemy import Connection, func, insert, select

from service.domain.ids import new_id
from service.store.tables.incident import alerts, incidents
from service.store.tables.keys import accounts
from service.store.tables.registry import connections

CONNECTION = "con-a"
THIEF = "eip155:1:0xeb31973e0febf3e3d7058234a5ebbae1ab4b8c23"


def add_connection(at: Connection, identity: str = CONNECTION, platform: str = "standard") -> None:
    at.execute(
        insert(connections).values(
            id=identity, platform=platform, name=identity, config={}, state="active", created_at=datetime.now(UTC)
        )
    )


def add_account(
    at: Connection,
    ref: str,
    *,
    holder: str = "platform",
    wallet: str | None = None,
    path: str = "",
    connection: str = CONNECTION,
) -> str:
    identity = new_id("acc")
    at.execute(
        insert(accounts).values(
            id=identity,
            connection_id=connection,
            ref=ref,
            holder=holder,
            wallet_id=wallet,
            account_path=path or None,
            created_at=datetime.now(UTC),
        )
    )
    return identity


def add_incident(
    at: Connection,
    entities: tuple[str, ...],
    *,
    kind: str = "drain",
    severity: int = 4,
    state: str = "open",
    connection: str = CONNECTION,
) -> str:
    now = datetime.now(UTC)
    identity = new_id("inc")
    at.execute(
        insert(incidents).values(
            id=identity,
            kind=kind,
            severity=severity,
            state=state,
            title="Funds are being drained",
            entities=list(entities),
            value_at_risk_usd=Decimal(1_000_000),
            opened_at=now,
            first_harm_at=now,
            detected_at=now,
        )
    )
    add_alert(at, identity, entities, kind=kind, connection=connection)
    return identity


def add_alert(
    at: Connection,
    incident: str | None,
    entities: tuple[str, ...],
    *,
    kind: str = "drain",
    connection: str = CONNECTION,
) -> str:
    now = datetime.now(UTC)
    identity = new_id("alr")
    at.execute(
        insert(alerts).values(
            id=identity,
            connection_id=connection,
            activity_id=new_id("act"),
            dedup_key=identity,
            kind=kind,
            severity=4,
            decision="hold",
            score=9.0,
            p_value=1e-9,
            title="drain",
            entities=list(entities),
            amount_usd=Decimal(1_000_000),
            raised_at=now,
            last_at=now,
            incident_id=incident,
            place=select(func.count() + 1).where(alerts.c.incident_id == incident).scalar_subquery() if incident else 0,
        )
    )
    return identity
