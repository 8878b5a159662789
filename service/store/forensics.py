"""Lists, access events and traces on PostgreSQL; implements `ports.store.forensics.ForensicStore`."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Row, Select, and_, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from rules.learning import RecordKind
from service.domain.blinding import warranted
from service.domain.errors import ConflictError, NotFoundError, UnavailableError
from service.domain.forensics.labels import AddressList, Label, LabelKind, Origin
from service.domain.forensics.report import AccessLine
from service.domain.ids import ActivityId, ConnectionId, IncidentId, new_id
from service.domain.listed import MAX_LISTS, MAX_WATCHED, WATCHED, ListChange, ListKept
from service.ports.store.forensics import MOST_EVENTS, Found, Stored
from service.store.queries.address_lists import names_in_force, watched
from service.store.tables.activity import activities, learning, learning_requests
from service.store.tables.forensics import address_labels, address_lists, traces

_FAMILIES: Final = ("access.", "governance.", "signing.")


class _Seen(msgspec.Struct):
    """What an observation tells of who was there."""

    ip: str | None = None
    country: str | None = None
    device: str | None = None
    session: str | None = None


class ForensicRepository:
    """See the port."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def begin_trace(
        self, incident_id: IncidentId, lease: timedelta, *, anew: bool = False, past_labels: bool = False
    ) -> Stored:
        """See the port."""
        fresh = {"incident_id": incident_id, "state": "gathering", "walks": {}, "lease_until": self._now}
        self._connection.execute(
            upsert(traces).values(**fresh, created_at=self._now, updated_at=self._now).on_conflict_do_nothing()
        )
        query = select(traces).where(traces.c.incident_id == incident_id).with_for_update()
        row = self._connection.execute(query).one()
        if row.state == "complete" and not anew:
            return _stored(row.state, row.walks, row)
        if row.lease_until > self._now:
            raise UnavailableError(f"another worker traces incident {incident_id}", retry_after_s=10)
        changes: dict[str, object] = {"lease_until": self._now + lease}
        if anew:
            changes |= {"state": "gathering", "walks": {}, "past_labels": past_labels}
        self._connection.execute(update(traces).where(traces.c.incident_id == incident_id).values(changes))
        if anew:
            return replace(_stored("gathering", {}, row), past_labels=past_labels)
        return _stored(row.state, row.walks, row)

    def save_trace(self, incident_id: IncidentId, found: Found) -> None:
        """See the port."""
        values: dict[str, object] = {"walks": found.walks, "lease_until": self._now, "updated_at": self._now}
        if found.report is not None:
            values |= {"state": "complete", "report": found.report, "drawing": found.drawing}
        self._connection.execute(update(traces).where(traces.c.incident_id == incident_id).values(values))

    def trace(self, incident_id: IncidentId) -> Stored | None:
        """See the port."""
        row = self._connection.execute(select(traces).where(traces.c.incident_id == incident_id)).first()
        return None if row is None else _stored(row.state, row.walks, row)

    def labels(self, addresses: Collection[str]) -> Sequence[Label]:
        """See the port."""
        if not addresses:
            return ()
        query = (
            select(address_labels, address_lists)
            .join(address_lists, address_lists.c.id == address_labels.c.list_id)
            .where(
                address_labels.c.address.in_(sorted(addresses)),
                address_labels.c.list_id.in_(names_in_force(self._connection)),
            )
        )
        return [
            Label(
                row.address,
                row.name,
                LabelKind(row.kind),
                Origin(row.source, row.listed_on.isoformat(), row.imported_by),
            )
            for row in self._connection.execute(query)
        ]

    def address_lists(self) -> Sequence[ListKept]:
        """See the port."""
        standing = frozenset(names_in_force(self._connection))
        rows = self._connection.execute(select(address_lists).order_by(address_lists.c.id.desc()))
        return [_kept(row, standing) for row in rows]

    def address_list(self, list_id: str) -> ListKept:
        """See the port."""
        row = self._connection.execute(select(address_lists).where(address_lists.c.id == list_id)).first()
        if row is None:
            raise NotFoundError(f"there is no address list {list_id}", field="list")
        return _kept(row, frozenset(names_in_force(self._connection)))

    def add_list(self, found: AddressList, source: str, listed_on: date, by: str) -> ListKept:
        """See the port."""
        self._require_room(found)
        name = new_id("lst")
        values = {
            "id": name,
            "source": source,
            "listed_on": listed_on,
            "digest": found.digest,
            "entries": len(found.labels),
            "imported_by": by,
            "created_at": self._now,
        }
        self._connection.execute(insert(address_lists).values(values))
        rows = [
            {"list_id": name, "address": one.address, "name": one.name, "kind": one.kind.value} for one in found.labels
        ]
        self._connection.execute(insert(address_labels), rows)
        asked = {"kind": RecordKind.LISTS.value, "subject": name, "created_at": self._now}
        payload = warranted(ListChange(add=name).row())
        self._connection.execute(insert(learning_requests).values(**asked, payload=payload))
        return self.address_list(name)

    def _require_room(self, found: AddressList) -> None:
        names = names_in_force(self._connection)
        same = address_lists.c.digest == found.digest, address_lists.c.id.in_(names)
        known = self._connection.execute(select(address_lists.c.id).where(*same)).scalar()
        if known is not None:
            raise ConflictError(f"this very file is in force as {known}: nothing was changed", field="text")
        if len(names) >= MAX_LISTS:
            raise ConflictError(f"{MAX_LISTS} lists are in force: withdraw one that is old", field="text")
        more = sum(one.kind in WATCHED for one in found.labels)
        if more and watched(self._connection, names) + more > MAX_WATCHED:
            raise ConflictError(
                f"all lists together may name {MAX_WATCHED} addresses that payments are held against: withdraw an old list",
                field="text",
            )

    def access(self, connections: Collection[ConnectionId], since: datetime, until: datetime) -> Sequence[AccessLine]:
        """See the port."""
        query = (
            _told()
            .where(
                activities.c.connection_id.in_(sorted(connections)),
                activities.c.occurred_at >= since,
                activities.c.occurred_at <= until,
                or_(*(activities.c.kind.startswith(family, autoescape=True) for family in _FAMILIES)),
            )
            .order_by(activities.c.id.desc())
            .limit(MOST_EVENTS)
        )
        return [_line(row) for row in self._connection.execute(query)]

    def access_of(self, activities_: Collection[ActivityId]) -> Sequence[AccessLine]:
        """See the port."""
        alerted, columns = activities.alias(), activities.c
        wanted = sorted(activities_)
        same = and_(
            alerted.c.id.in_(wanted),
            alerted.c.connection_id == columns.connection_id,
            alerted.c.account == columns.account,
            alerted.c.transaction == columns.transaction,
        )
        of_them = _told().where(columns.id.in_(wanted))
        of_their_transactions = _told().join(alerted, same).order_by(columns.id.desc()).limit(MOST_EVENTS)
        rows = [row for query in (of_them, of_their_transactions) for row in self._connection.execute(query)]
        return list({row.id: _line(row) for row in rows}.values())


def _told() -> Select[Any]:
    columns = activities.c
    same = (learning.c.seq == columns.seq) & (learning.c.kind == RecordKind.ACTIVITY.value)
    who = (columns.account, columns.actor, columns.transaction)
    return select(columns.id, columns.kind, columns.occurred_at, *who, columns.decision, learning.c.payload).outerjoin(
        learning, same
    )


def _kept(row: Row[Any], standing: Collection[str]) -> ListKept:
    listed_on = row.listed_on.isoformat()
    return ListKept(
        row.id, row.source, listed_on, row.entries, row.imported_by, row.digest, in_force=row.id in standing
    )


def _line(row: Row[Any]) -> AccessLine:
    seen = _Seen() if row.payload is None else msgspec.json.decode(bytes(row.payload), type=_Seen)
    return AccessLine(
        at=row.occurred_at,
        kind=row.kind,
        account=row.account,
        actor=row.actor,
        ip=seen.ip,
        country=seen.country,
        device=seen.device,
        session=seen.session,
        decision=row.decision,
        activity=row.id,
        transaction=row.transaction,
    )


def _stored(state: str, walks: Mapping[str, object] | str, row: Row[Any]) -> Stored:
    read = json.loads(walks) if isinstance(walks, str) else walks
    return Stored(state, read, row.report, row.drawing, row.updated_at, row.past_labels)
