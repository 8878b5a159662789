"""Alerts and incidents on PostgreSQL; implements `ports.store.incidents.IncidentStore`."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    func,
    not_,
    or_,
    select,
    tuple_,
    update,
)

from service.domain.errors import NotFoundError
from service.domain.freeze_letter import Payment
from service.domain.ids import ActivityId, AlertId, ConnectionId, IncidentId
from service.domain.incident import Alert, CaseVerdict, Incident, IncidentKind, IncidentState, Severity
from service.ports.store.incidents import Left
from service.store.incident_statements import (
    ADD,
    ALERT,
    ALERTS_OF,
    ASK_LEARNING,
    BALANCES,
    INCIDENT,
    INCIDENT_LOCKED,
    JOIN_ALERT,
    OPEN_SHARING,
    SHARING,
)
from service.store.quick import mappings, rows, send
from service.store.tables.activity import activities, decisions, transactions
from service.store.tables.incident import alerts, incidents
from service.store.tables.keys import safe_destinations


def alert_of(row: Row[Any]) -> Alert:
    """Build an alert from its row."""
    return Alert(
        id=AlertId(row.id),
        connection=ConnectionId(row.connection_id),
        activity_id=ActivityId(row.activity_id),
        dedup_key=row.dedup_key,
        kind=IncidentKind(row.kind),
        severity=Severity(row.severity),
        decision=row.decision,
        score=row.score,
        p_value=row.p_value,
        entities=tuple(row.entities),
        amount_usd=row.amount_usd,
        raised_at=row.raised_at,
        judged=tuple(row.judged or ()),
        incident_id=None if row.incident_id is None else IncidentId(row.incident_id),
        verdict=None if row.verdict is None else CaseVerdict(row.verdict),
        reported_by=row.reported_by,
        place=row.place,
    )


def incident_of(row: Mapping[str, Any]) -> Incident:
    """Build an incident from its row."""
    fields = dict(row)
    fields["kind"] = IncidentKind(fields["kind"])
    fields["severity"] = Severity(fields["severity"])
    fields["state"] = IncidentState(fields["state"])
    fields["entities"] = tuple(fields["entities"])
    fields["verdict"] = None if fields["verdict"] is None else CaseVerdict(fields["verdict"])
    return Incident(**fields)


class IncidentRepository:
    """See the port."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def alert(self, alert_id: AlertId) -> Alert:
        """Read one alert."""
        found = rows(self._connection, ALERT, {"alert": alert_id})
        if not found:
            raise NotFoundError(f"there is no alert {alert_id}")
        return alert_of(found[0])

    def alerts_of(self, incident_id: IncidentId) -> Sequence[Alert]:
        """Read the alerts of an incident, oldest first."""
        return [alert_of(row) for row in rows(self._connection, ALERTS_OF, {"incident": incident_id})]

    def join_alert(self, alert_id: AlertId, incident_id: IncidentId) -> None:
        """Attach an alert to an incident."""
        send(self._connection, JOIN_ALERT, {"alert": alert_id, "incident": incident_id})

    def set_verdict(self, alert_id: AlertId, verdict: CaseVerdict, by: str) -> None:
        """Store what a person decided about an alert."""
        self._connection.execute(
            update(alerts)
            .where(alerts.c.id == alert_id)
            .values(verdict=verdict.value, verdict_by=by, verdict_at=self._now)
        )

    def lock_incident(self, incident_id: IncidentId) -> Incident:
        """Read and lock."""
        return self._one(INCIDENT_LOCKED, incident_id)

    def incident(self, incident_id: IncidentId) -> Incident:
        """Read."""
        return self._one(INCIDENT, incident_id)

    def _one(self, query: Select[Any], incident_id: str) -> Incident:
        found = mappings(self._connection, query, {"incident": incident_id})
        if not found:
            raise NotFoundError(f"there is no incident {incident_id}")
        return incident_of(found[0])

    def open_sharing(self, entities: Sequence[str], since: datetime) -> Sequence[Incident]:
        """Find open incidents that share an entity and were active since then."""
        values = {"entities": list(entities), "since": since}
        return [incident_of(row) for row in mappings(self._connection, OPEN_SHARING, values)]

    def add(self, incident: Incident) -> None:
        """Insert a new incident."""
        values: dict[str, Any] = {name: getattr(incident, name) for name in Incident.__dataclass_fields__}
        values |= {
            "kind": incident.kind.value,
            "severity": int(incident.severity),
            "state": incident.state.value,
            "entities": list(incident.entities),
            "verdict": None if incident.verdict is None else incident.verdict.value,
        }
        send(self._connection, ADD, values)

    def widen(
        self,
        incident_id: IncidentId,
        entities: Sequence[str],
        severity: Severity,
        value_at_risk_usd: Decimal,
        harm_at: datetime,
    ) -> None:
        """Add entities; let severity and value at risk rise."""
        current = self.lock_incident(incident_id)
        merged = [*current.entities, *(e for e in entities if e not in current.entities)]
        self._change(
            incident_id,
            entities=merged,
            severity=max(int(severity), int(current.severity)),
            value_at_risk_usd=max(value_at_risk_usd, current.value_at_risk_usd),
            first_harm_at=min(harm_at, current.first_harm_at),
        )

    def alarm(self, incident_id: IncidentId) -> None:
        """See the port."""
        anew = {"alarm": incidents.c.alarm + 1, "acknowledged_at": None, "acknowledged_by": None}
        self._change(incident_id, **anew)

    def note(self, incident_id: IncidentId, **times: datetime) -> None:
        """Set moments that are not set yet."""
        for name, at in times.items():
            unset = and_(incidents.c.id == incident_id, incidents.c[name].is_(None))
            changed = {name: at, "version": incidents.c.version + 1}
            self._connection.execute(update(incidents).where(unset).values(**changed))

    def set_state(self, incident_id: IncidentId, state: IncidentState) -> None:
        """Move an incident to another state."""
        self._change(incident_id, state=state.value)

    def close(self, incident_id: IncidentId, verdict: CaseVerdict) -> None:
        """Close with a verdict."""
        self._change(incident_id, state=IncidentState.CLOSED.value, verdict=verdict.value, closed_at=self._now)

    def acknowledge(self, incident_id: IncidentId, by: str) -> bool:
        """Note the first person who took it."""
        result = self._connection.execute(
            update(incidents)
            .where(incidents.c.id == incident_id, incidents.c.acknowledged_at.is_(None))
            .values(acknowledged_at=self._now, acknowledged_by=by, version=incidents.c.version + 1)
        )
        return result.rowcount == 1

    def _change(self, incident_id: IncidentId, **values: Any) -> None:
        self._connection.execute(
            update(incidents).where(incidents.c.id == incident_id).values(**values, version=incidents.c.version + 1)
        )

    def ask_learning(self, kind: str, subject: str, payload: bytes) -> None:
        """Leave a request for the learning sequence; intake moves it over in order."""
        asked = {"kind": kind, "subject": subject, "payload": payload, "created_at": self._now}
        send(self._connection, ASK_LEARNING, asked)

    def reach(self, entities: Sequence[str]) -> Sequence[str]:
        """Follow the accounts' wallets to their other accounts."""
        named = _accounts_in(entities)
        if not named:
            return []
        values = {"connections": [connection for connection, _ in named], "refs": [ref for _, ref in named]}
        sharing = rows(self._connection, SHARING, values)
        found = set(named) | {(row.connection_id, row.ref) for row in sharing}
        return [f"account:{c}/{r}" for c, r in sorted(found)]

    def signed_past_gate(self, incident_id: IncidentId) -> Sequence[str]:
        """See the port."""
        approved = select(decisions.c.id).where(
            decisions.c.connection_id == activities.c.connection_id,
            decisions.c.transaction == activities.c.transaction,
            decisions.c.decision == "approve",
        )
        told = select(activities.c.connection_id, activities.c.account).distinct()
        signed = told.outerjoin_from(activities, transactions, _ITS_TRANSACTION).where(
            self._anomalous_in(self.incident(incident_id)),
            or_(activities.c.kind.in_(_SIGNED_KINDS), transactions.c.state.in_(_SIGNED)),
            not_(approved.exists()),
            not_(_to_safe(activities.c.destination)),
            activities.c.account.is_not(None),
        )
        return sorted(f"account:{row.connection_id}/{row.account}" for row in self._connection.execute(signed))

    def balances(self, entities: Sequence[str]) -> Mapping[str, Decimal]:
        """See the port."""
        asked = list(dict.fromkeys(_accounts_in(entities)))
        named = {"connections": [connection for connection, _ in asked], "refs": [ref for _, ref in asked]}
        found = rows(self._connection, BALANCES, named)
        return {f"account:{row.connection}/{row.ref}": Decimal(row.balance_usd) for row in found}

    def reopen(self, incident_id: IncidentId) -> None:
        """See the port."""
        self._connection.execute(
            update(incidents)
            .where(incidents.c.id == incident_id, incidents.c.state != IncidentState.CLOSED.value)
            .values(
                state=IncidentState.OPEN.value,
                contained_at=None,
                recovered_at=None,
                version=incidents.c.version + 1,
            )
        )

    def moved_usd(self, incident_id: IncidentId) -> Decimal:
        """See the port."""
        moved = (
            select(transactions.c.connection_id, transactions.c.ref, func.max(transactions.c.amount_usd).label("usd"))
            .join(activities, _ITS_TRANSACTION)
            .where(self._gone(incident_id))
            .group_by(transactions.c.connection_id, transactions.c.ref)
            .subquery()
        )
        return Decimal(self._connection.execute(select(func.coalesce(func.sum(moved.c.usd), 0))).scalar_one())

    def left(self, incident_id: IncidentId, assets: Collection[str]) -> Sequence[Left]:
        """See the port."""
        told = func.lower(transactions.c.asset)
        gone = (
            select(transactions, func.min(activities.c.occurred_at).label("at"))
            .join(activities, _ITS_TRANSACTION)
            .where(self._gone(incident_id), told.in_(sorted(assets)))
            .group_by(transactions.c.connection_id, transactions.c.ref)
            .subquery()
        )
        alike = (gone.c.connection_id, func.lower(gone.c.asset))
        largest_first = (gone.c.amount_base_units.desc().nulls_last(), gone.c.ref)
        ranked = select(
            gone,
            func.count().over(partition_by=alike).label("in_all"),
            func.row_number().over(partition_by=alike, order_by=largest_first).label("place"),
        ).subquery()
        rows = self._connection.execute(
            select(ranked).where(ranked.c.place <= _MOST_LEFT).order_by(ranked.c.place, ranked.c.connection_id)
        )
        return [
            Left(
                ConnectionId(row.connection_id),
                row.asset.lower(),
                Payment(
                    row.ref,
                    row.at,
                    row.destination or "a destination that was not told",
                    None if row.amount_base_units is None else int(row.amount_base_units),
                ),
                row.in_all,
            )
            for row in rows
        ]

    def _gone(self, incident_id: IncidentId) -> ColumnElement[bool]:
        """Anomalous, on the chain, and not to a safe destination."""
        return and_(
            self._anomalous_in(self.incident(incident_id)),
            transactions.c.state.in_(["broadcast", "confirmed"]),
            not_(_to_safe(transactions.c.destination)),
        )

    def _anomalous_in(self, incident: Incident) -> ColumnElement[bool]:
        """Activities of the alerts, and what the same deduplicated alerts stand for, but not those found false."""
        of_alert = (
            select(alerts.c.id)
            .where(
                alerts.c.activity_id == activities.c.id,
                alerts.c.incident_id == incident.id,
                or_(alerts.c.verdict.is_(None), alerts.c.verdict != CaseVerdict.FALSE_POSITIVE.value),
            )
            .exists()
        )
        found_false = (
            select(alerts.c.id)
            .where(alerts.c.activity_id == activities.c.id, alerts.c.verdict == CaseVerdict.FALSE_POSITIVE.value)
            .exists()
        )
        here = tuple_(activities.c.connection_id, activities.c.account).in_(_accounts_in(incident.entities))
        during = activities.c.received_at.between(incident.first_harm_at, incident.closed_at or self._now)
        return or_(of_alert, and_(here, during, activities.c.decision != "allow", not_(found_false)))


_SIGNED: Final = ("signed", "broadcast", "confirmed")
_SIGNED_KINDS: Final = tuple(f"withdrawal.{state}" for state in _SIGNED)
_MOST_LEFT: Final = 5_000
"""Of one asset at one connection."""
_ITS_TRANSACTION: Final = and_(
    activities.c.connection_id == transactions.c.connection_id, activities.c.transaction == transactions.c.ref
)


def _to_safe(destination: ColumnElement[str]) -> ColumnElement[bool]:
    """Whether a destination, with or without its chain, is a registered safe one: a sweep of ours goes there.

    No key is at hand here to verify what the authority stated. The vault's signature stands for it: the key worker writes
    that column alone (`store/grants.py`), and only after it has verified the statement. The API may insert rows, but not
    with that column, so a row of its own does not turn a theft into a sweep.
    """
    bare = func.lower(func.regexp_replace(destination, "^.*:", ""))
    signed = and_(func.lower(safe_destinations.c.descriptor) == bare, safe_destinations.c.signature.is_not(None))
    return select(safe_destinations.c.descriptor).where(signed).exists()


def _accounts_in(entities: Sequence[str]) -> list[tuple[str, str]]:
    """Return (connection, ref) of the account entities among these."""
    named = (e.removeprefix("account:").partition("/") for e in entities if e.startswith("account:"))
    return [(connection, ref) for connection, _, ref in named if ref]
