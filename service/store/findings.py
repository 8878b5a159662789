"""What was found about activities on PostgreSQL; implements `ports.store.findings.FindingStore`."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Select, select, text

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
"""Activities that are looked through, whatever they are: what is asked for may be rare, and the work must end."""
_AT_MOST_MS: Final = 5_000


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
        newest = _newest_before(of)
        looked_at = newest.limit(_LOOKED_AT).subquery()
        columns = looked_at.c
        family = of.kind.partition(".")[0] + "."
        told = (
            select(columns.occurred_at, columns.amount_usd, columns.decision)
            .where(
                columns.kind.startswith(family, autoescape=True),
                columns.connection_id == of.connection,
                columns.status.in_([Status.SCORED.value, Status.HISTORY.value]),
                columns.account == of.account if of.account is not None else columns.actor == of.actor,
            )
            .order_by(columns.id.desc())
            .limit(MOST_POINTS + 1)
        )
        with self._connection.begin_nested():  # what fails here costs the caller no more than this
            self._connection.execute(text(f"SET LOCAL statement_timeout = {_AT_MOST_MS}"))
            rows = self._connection.execute(told).all()
            more = self._connection.execute(newest.offset(_LOOKED_AT).limit(1)).first()
            self._connection.execute(text("SET LOCAL statement_timeout TO DEFAULT"))
        points = [
            Point(r.occurred_at, None if r.amount_usd is None else float(r.amount_usd), r.decision not in _QUIET)
            for r in rows[:MOST_POINTS]
        ]
        return points, len(rows) <= MOST_POINTS and more is None

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


def _newest_before(of: Assessed) -> Select[Any]:
    """Return the query of what came before, newest first, in an index's own order: it can stop after any number."""
    columns = activities.c
    seen = (columns.id, columns.connection_id, columns.kind, columns.status, columns.account, columns.actor)
    query = select(*seen, columns.occurred_at, columns.amount_usd, columns.decision).where(
        columns.id < of.id, columns.id >= first_id_at("act", of.occurred_at - SPAN)
    )
    if of.account is not None:
        query = query.where(columns.connection_id == of.connection, columns.account == of.account)
    return query.order_by(columns.id.desc())


def _assessed(row: Row[Any], levels: Mapping[str, object] | None) -> Assessed:
    reasons = msgspec.json.decode(row.reasons, type=tuple[Reason, ...]) if row.reasons else ()
    return Assessed(
        id=ActivityId(row.id),
        connection=ConnectionId(row.connection_id),
        kind=row.kind,
        status=row.status,
        occurred_at=row.occurred_at,
        received_at=row.received_at,
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
