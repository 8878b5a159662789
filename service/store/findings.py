"""What was found about activities on PostgreSQL; implements `ports.store.findings.FindingStore`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, select

from rules.learning import RecordKind
from rules.signal import Reason
from service.domain.errors import NotFoundError
from service.domain.explaining import LEVELS, Assessed
from service.domain.ids import ActivityId, ConnectionId, first_id_at
from service.domain.intake import Status
from service.domain.picture import SPAN, Point
from service.ports.store.findings import MOST_POINTS
from service.store.tables.activity import activities, learning

_LOOKED_AT: Final = 50_000
"""Activities that are looked through for those of an actor: there is no index of actors, and the work must end."""


class FindingRepository:
    """See the port."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def assessed(self, activity_id: ActivityId) -> Assessed:
        """See the port."""
        query = (
            select(activities, learning.c.payload.label("observation"))
            .outerjoin(learning, (learning.c.seq == activities.c.seq) & (learning.c.kind == RecordKind.ACTIVITY.value))
            .where(activities.c.id == activity_id)
        )
        row = self._connection.execute(query).first()
        if row is None:
            raise NotFoundError(f"there is no activity {activity_id}", field="activity")
        return _assessed(row, None if row.seq is None else self._levels(row.seq))

    def past(self, of: Assessed) -> tuple[Sequence[Point], bool]:
        """See the port."""
        whose = activities.c.account == of.account if of.account is not None else activities.c.actor == of.actor
        family = of.kind.partition(".")[0] + "."
        own = (
            activities.c.kind.startswith(family, autoescape=True),
            activities.c.connection_id == of.connection,
            activities.c.id < of.id,
            activities.c.id >= first_id_at("act", of.occurred_at - SPAN),
        )
        source: Any = activities
        if of.account is None:
            # The newest are read first and the reading stops, whoever they are of.
            source = select(activities).where(*own).order_by(activities.c.id.desc()).limit(_LOOKED_AT).subquery()
            whose = source.c.actor == of.actor
        columns = source.c
        told = (
            select(columns.occurred_at, columns.amount_usd, columns.decision)
            .where(whose, columns.status.in_([Status.SCORED.value, Status.HISTORY.value]))
            .order_by(columns.id.desc())
            .limit(MOST_POINTS + 1)
        )
        rows = self._connection.execute(told if of.account is None else told.where(*own)).all()
        points = [
            Point(r.occurred_at, None if r.amount_usd is None else float(r.amount_usd), r.decision not in _QUIET)
            for r in rows[:MOST_POINTS]
        ]
        return points, len(rows) <= MOST_POINTS

    def _levels(self, seq: int) -> Mapping[str, object] | None:
        payload = self._connection.execute(
            select(learning.c.payload)
            .where(learning.c.kind == RecordKind.SETTINGS.value, learning.c.seq <= seq)
            .order_by(learning.c.seq.desc())
            .limit(1)
        ).scalar()
        if payload is None:
            return None
        stored = json.loads(bytes(payload))
        return {name: stored[name] for name in LEVELS if name in stored}


_QUIET: Final = ("allow", None)


def _assessed(row: Row[Any], levels: Mapping[str, object] | None) -> Assessed:
    reasons = msgspec.json.decode(row.reasons, type=tuple[Reason, ...]) if row.reasons else ()
    return Assessed(
        id=ActivityId(row.id),
        connection=ConnectionId(row.connection_id),
        kind=row.kind,
        status=row.status,
        occurred_at=row.occurred_at,
        account=row.account,
        actor=row.actor,
        destination=row.destination,
        amount_usd=row.amount_usd,
        score=row.score,
        p_value=row.p_value,
        decision=row.decision,
        history=row.history,
        reasons=reasons,
        detectors=tuple(dict.fromkeys(row.detectors or ())),
        levels=levels,
        observation=None if row.observation is None else bytes(row.observation),
    )
