"""What people said of activities that the engine let pass, on PostgreSQL; implements `ports.store.reports.ReportStore`."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Connection, and_, case, exists, false, insert, or_, select

from service.domain.ids import ActivityId, AlertId
from service.domain.incident import Alert, IncidentState
from service.ports.store.reports import Vouched
from service.store.tables.activity import activities
from service.store.tables.incident import alerts, incidents, vouched

_LATELY: Final = timedelta(days=2)
"""So long nothing else about the same subject may be vouched for."""


class ReportRepository:
    """See the port."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def alert(self, alert: Alert, title: str) -> None:
        """See the port."""
        told = asdict(alert)
        row = {name: told[name] for name in _AS_TOLD}
        row |= {"connection_id": alert.connection, "kind": alert.kind.value, "severity": int(alert.severity)}
        row |= {"entities": list(alert.entities), "title": title, "last_at": self._now}
        self._connection.execute(insert(alerts).inline().values(row))

    def standing(self, activity_id: ActivityId) -> Sequence[AlertId]:
        """See the port."""
        open_ones = (
            select(alerts.c.id)
            .outerjoin(incidents, incidents.c.id == alerts.c.incident_id)
            .where(
                alerts.c.activity_id == activity_id,
                or_(incidents.c.id.is_(None), incidents.c.state != IncidentState.CLOSED.value),
            )
            .order_by(alerts.c.id)
        )
        return [AlertId(found) for found in self._connection.execute(open_ones).scalars()]

    def alerted(self, activity_id: ActivityId) -> bool:
        """See the port."""
        return bool(self._connection.execute(select(exists().where(alerts.c.activity_id == activity_id))).scalar())

    def besieged(self, entities: Sequence[str]) -> bool:
        """See the port."""
        about = and_(incidents.c.state != IncidentState.CLOSED.value, incidents.c.entities.op("&&")(list(entities)))
        return bool(self._connection.execute(select(exists().where(about))).scalar())

    def vouched_lately(self, activity_id: ActivityId) -> bool:
        """See the port."""
        alike = exists().where(activities.c.id == activity_id, alike_vouched(self._now))
        return bool(self._connection.execute(select(alike)).scalar())

    def vouch(self, activity_id: ActivityId, by: str) -> Vouched:
        """See the port."""
        self._connection.execute(insert(vouched).inline().values(activity_id=activity_id, by=by, at=self._now))
        return Vouched(by, self._now)

    def vouched(self, activity_id: ActivityId) -> Vouched | None:
        """See the port."""
        row = self._connection.execute(select(vouched).where(vouched.c.activity_id == activity_id)).first()
        return None if row is None else Vouched(row.by, row.at)


def alike_vouched(now: datetime | ColumnElement[datetime]) -> ColumnElement[bool]:
    """Return the condition that another activity about the same (`domain.reports.subject_of`) was vouched for lately."""
    other = activities.alias()
    here, there = activities.c, other.c
    about = case(
        *((here[name] != "", there[name] == here[name]) for name in ("destination", "actor", "account")), else_=false()
    )
    return exists().where(vouched.c.activity_id == there.id, there.id != here.id, vouched.c.at > now - _LATELY, about)


_AS_TOLD: Final = (
    "id",
    "activity_id",
    "dedup_key",
    "decision",
    "score",
    "p_value",
    "amount_usd",
    "raised_at",
    "reported_by",
)
