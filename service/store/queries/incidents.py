"""Incidents as the analyst API lists them and shows them whole."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import Column, Connection, Select, select

from service.domain.approval import ApprovalState, Subject
from service.domain.freeze_letter import ACTION
from service.domain.incident import Severity
from service.store.queries.pages import Page, Record, Span, page
from service.store.queries.reading import equal, one
from service.store.tables.approval import approvals
from service.store.tables.attention import escalations, messages
from service.store.tables.incident import alerts, incidents, plans, steps
from service.store.tables.proof import timeline

EMBEDDED: Final = 500
"""How many rows of each kind are shown inside an incident, at most: the newest."""

_PARTS: Final[Mapping[str, tuple[Select[Any], Column[Any]]]] = {
    "alerts": (select(alerts), alerts.c.id),
    "plans": (select(plans), plans.c.id),
    "steps": (select(steps), steps.c.id),
    "timeline": (select(timeline), timeline.c.id),
    "messages": (select(messages), messages.c.id),
    "pages": (select(escalations), escalations.c.id),
    "approvals": (select(approvals), approvals.c.id),
}


def incidents_page(
    connection: Connection, span: Span, filters: Mapping[str, object | None], *, severity: Severity | None
) -> Page:
    """Incidents, newest first. `filters`: state, kind, assignee; of at least a severity."""
    query = equal(select(incidents), incidents, filters)
    if severity is not None:
        query = query.where(incidents.c.severity >= int(severity))
    return page(connection, query, incidents.c.id, span, "inc")


def incident(connection: Connection, incident_id: str) -> Record:
    """One incident with everything that belongs to it, oldest first; `more` names what has more than is shown.

    Raises NotFoundError.
    """
    found = dict(one(connection, select(incidents).where(incidents.c.id == incident_id), f"incident {incident_id}"))
    more = []
    for name, (query, key) in _PARTS.items():
        of_it = query.where(key.table.c.incident_id == incident_id).order_by(key.desc()).limit(EMBEDDED + 1)
        rows = [dict(row) for row in connection.execute(of_it).mappings()]
        found[name] = rows[:EMBEDDED][::-1]
        if len(rows) > EMBEDDED:
            more.append(name)
    found["steps"].sort(key=_place)
    found["more"] = more
    return found


def timeline_page(connection: Connection, incident_id: str, span: Span) -> Page:
    """The timeline of an incident, newest first. Raises NotFoundError."""
    one(connection, select(incidents.c.id).where(incidents.c.id == incident_id), f"incident {incident_id}")
    return page(connection, select(timeline).where(timeline.c.incident_id == incident_id), timeline.c.id, span)


def letters(connection: Connection, incident_id: str) -> Sequence[Record]:
    """The steps of an incident that are letters to issuers, oldest first."""
    rows = connection.execute(
        select(steps).where(steps.c.incident_id == incident_id, steps.c.action == ACTION).order_by(steps.c.id)
    )
    return [dict(row) for row in rows.mappings()]


def undecided(connection: Connection, incident_id: str, subject: Subject) -> Sequence[Record]:
    """An incident's requests about `subject` that nobody has decided yet."""
    rows = connection.execute(
        select(approvals.c.id, approvals.c.digest, approvals.c.approve_by, approvals.c.document).where(
            approvals.c.incident_id == incident_id,
            approvals.c.subject == subject.value,
            approvals.c.state.in_([ApprovalState.WAITING.value, ApprovalState.APPROVED.value]),
        )
    )
    return [dict(row) for row in rows.mappings()]


def _place(step: Record) -> tuple[str, int]:
    return step["plan_id"], step["position"]
