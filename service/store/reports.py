"""What people said of activities that the engine let pass, on PostgreSQL; implements `ports.store.reports.ReportStore`."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, and_, exists, insert, or_, select

from service.domain.explaining import Assessed
from service.domain.ids import ActivityId, AlertId
from service.domain.incident import Alert, IncidentState
from service.domain.reports import subject_of
from service.ports.store.reports import Vouched
from service.store.tables.activity import activities
from service.store.tables.incident import alerts, incidents, vouched

LATELY: Final = timedelta(days=2)
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

    def vouched_lately(self, assessed: Assessed) -> bool:
        """See the port."""
        about = subject_of(assessed)
        if about is None:
            return False
        others = exists().where(
            vouched.c.activity_id == activities.c.id,
            vouched.c.activity_id != assessed.id,
            vouched.c.at > self._now - LATELY,
            activities.c[about[0]] == about[1],
        )
        return bool(self._connection.execute(select(others)).scalar())

    def vouch(self, activity_id: ActivityId, by: str) -> Vouched:
        """See the port."""
        self._connection.execute(insert(vouched).inline().values(activity_id=activity_id, by=by, at=self._now))
        return Vouched(by, self._now)

    def vouched(self, activity_id: ActivityId) -> Vouched | None:
        """See the port."""
        row = self._connection.execute(select(vouched).where(vouched.c.activity_id == activity_id)).first()
        return None if row is None else Vouched(row.by, row.at)


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
