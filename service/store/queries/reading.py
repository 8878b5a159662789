"""What the analyst API reads: one query a noun, never a secret column."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from service.domain.errors import NotFoundError
from service.domain.incident import Severity
from service.store.queries.pages import Page, Record, page
from service.store.tables.activity import activities
from service.store.tables.approval import approvals, votes
from service.store.tables.attention import escalations, messages, reviews
from service.store.tables.incident import alerts, incidents, plans, steps
from service.store.tables.keys import accounts, safe_destinations
from service.store.tables.proof import outbox, timeline
from service.store.tables.registry import connections

_ACTIVITY_COLUMNS = [c for c in activities.c if c.name not in ("raw", "body_digest")]
_CONNECTION_COLUMNS = [c for c in connections.c if c.name != "config"]


def _one(connection: Connection, query: Select[Any], what: str) -> Record:
    row = connection.execute(query).mappings().first()
    if row is None:
        raise NotFoundError(f"there is no {what}")
    return dict(row)


def alerts_page(connection: Connection, *, incident: str | None, waiting: bool, after: str | None, limit: int) -> Page:
    """Alerts, newest first; of one incident, or only those without a verdict."""
    query = select(alerts)
    if incident is not None:
        query = query.where(alerts.c.incident_id == incident)
    if waiting:
        query = query.where(alerts.c.verdict.is_(None))
    return page(connection, query, alerts.c.id, after=after, limit=limit)


def alert(connection: Connection, alert_id: str) -> Record:
    """One alert. Raises NotFoundError."""
    return _one(connection, select(alerts).where(alerts.c.id == alert_id), f"alert {alert_id}")


def incidents_page(
    connection: Connection, *, state: str | None, severity: Severity | None, after: str | None, limit: int
) -> Page:
    """Incidents, newest first; in a state, of at least a severity."""
    query = select(incidents)
    if state is not None:
        query = query.where(incidents.c.state == state)
    if severity is not None:
        query = query.where(incidents.c.severity >= int(severity))
    return page(connection, query, incidents.c.id, after=after, limit=limit)


def incident(connection: Connection, incident_id: str) -> Record:
    """One incident with its alerts, plans, steps, timeline, messages and pages. Raises NotFoundError."""
    found = dict(_one(connection, select(incidents).where(incidents.c.id == incident_id), f"incident {incident_id}"))

    def of_it(query: Select[Any]) -> Sequence[Record]:
        return [dict(row) for row in connection.execute(query).mappings()]

    found["alerts"] = of_it(select(alerts).where(alerts.c.incident_id == incident_id).order_by(alerts.c.id))
    found["plans"] = of_it(
        select(plans.c.id, plans.c.playbook, plans.c.compromised, plans.c.digest, plans.c.created_at)
        .where(plans.c.incident_id == incident_id)
        .order_by(plans.c.id)
    )
    found["steps"] = of_it(
        select(steps).where(steps.c.incident_id == incident_id).order_by(steps.c.plan_id, steps.c.position)
    )
    found["timeline"] = of_it(
        select(timeline).where(timeline.c.incident_id == incident_id).order_by(timeline.c.at, timeline.c.id)
    )
    found["messages"] = of_it(
        select(messages.c.id, messages.c.audience, messages.c.channel, messages.c.subject, messages.c.state)
        .where(messages.c.incident_id == incident_id)
        .order_by(messages.c.id)
    )
    found["pages"] = of_it(
        select(escalations).where(escalations.c.incident_id == incident_id).order_by(escalations.c.paged_at)
    )
    found["approvals"] = of_it(
        select(approvals.c.id, approvals.c.subject, approvals.c.state, approvals.c.approve_by)
        .where(approvals.c.incident_id == incident_id)
        .order_by(approvals.c.id)
    )
    return found


def accounts_page(connection: Connection, *, of: str | None, after: str | None, limit: int) -> Page:
    """Registered accounts, newest first."""
    query = select(accounts)
    if of is not None:
        query = query.where(accounts.c.connection_id == of)
    return page(connection, query, accounts.c.id, after=after, limit=limit)


def account(connection: Connection, account_id: str) -> Record:
    """One account with its safe destinations. Raises NotFoundError."""
    found = dict(_one(connection, select(accounts).where(accounts.c.id == account_id), f"account {account_id}"))
    rows = connection.execute(
        select(
            safe_destinations.c.chain,
            safe_destinations.c.descriptor,
            safe_destinations.c.active_from,
            safe_destinations.c.signature.is_not(None).label("signed"),
        )
        .where(safe_destinations.c.account_id == account_id)
        .order_by(safe_destinations.c.active_from.desc())
    )
    found["safe_destinations"] = [dict(row) for row in rows.mappings()]
    return found


def connections_list(connection: Connection) -> Sequence[Record]:
    """Every connection; its settings and secrets stay inside."""
    rows = connection.execute(select(*_CONNECTION_COLUMNS).order_by(connections.c.id))
    return [dict(row) for row in rows.mappings()]


def activities_page(
    connection: Connection, *, filters: dict[str, str], anomalous: bool, after: str | None, limit: int
) -> Page:
    """Activities with their assessments, newest first. `filters`: connection_id, account, actor, kind, transaction."""
    query = select(*_ACTIVITY_COLUMNS)
    for name, value in filters.items():
        query = query.where(activities.c[name] == value)
    if anomalous:
        query = query.where(activities.c.decision != "allow")
    return page(connection, query, activities.c.id, after=after, limit=limit)


def activity(connection: Connection, activity_id: str, *, with_body: bool) -> Record:
    """One activity; its raw body only where asked for. Raises NotFoundError."""
    columns = [*_ACTIVITY_COLUMNS, activities.c.raw] if with_body else _ACTIVITY_COLUMNS
    return _one(connection, select(*columns).where(activities.c.id == activity_id), f"activity {activity_id}")


def review(connection: Connection, incident_id: str) -> Record:
    """One review. Raises NotFoundError."""
    query = select(reviews).where(reviews.c.incident_id == incident_id)
    return _one(connection, query, f"review of {incident_id} yet: it is written when the incident is closed")


def votes_of(connection: Connection, approval_id: str) -> Sequence[Record]:
    """Who voted what on an approval."""
    rows = connection.execute(
        select(votes.c.person_id, votes.c.decision, votes.c.cast_at)
        .where(votes.c.approval_id == approval_id)
        .order_by(votes.c.cast_at)
    )
    return [dict(row) for row in rows.mappings()]


def events_after(connection: Connection, after: int, limit: int) -> Sequence[Record]:
    """Events of the outbox above an id, oldest first: names and ids only."""
    rows = connection.execute(
        select(outbox.c.id, outbox.c.event, outbox.c.payload, outbox.c.created_at)
        .where(outbox.c.id > after)
        .order_by(outbox.c.id)
        .limit(limit)
    )
    return [dict(row) for row in rows.mappings()]


def newest_event(connection: Connection) -> int:
    """Return the id of the newest event, 0 when there is none."""
    return connection.execute(select(outbox.c.id).order_by(outbox.c.id.desc()).limit(1)).scalar() or 0


def waiting_since(connection: Connection) -> datetime | None:
    """Return when the oldest event that no worker has taken yet was written."""
    query = select(outbox.c.created_at).where(outbox.c.published_at.is_(None)).order_by(outbox.c.id).limit(1)
    return connection.execute(query).scalar()
