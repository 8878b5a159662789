"""Suppressions, settings and sets of detectors on PostgreSQL; implements `ports.store.blinding.BlindingStore`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, false, func, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert

from rules.learning import RecordKind
from rules.networks import names_of
from rules.observation import decode
from rules.settings import EngineSettings
from service.domain.approval import ActionDocument, ApprovalState, Subject
from service.domain.blinding import Suppression, Warranted
from service.domain.errors import NotFoundError
from service.domain.ids import ApprovalId
from service.domain.requests import readable
from service.ports.store.blinding import MOST_ALERTS, MOST_WAITING, StandingSuppression
from service.store.queries.suppressions import differences
from service.store.tables.activity import activities, learning, learning_requests
from service.store.tables.approval import approvals
from service.store.tables.blinding import rule_adoptions, rule_sets, suppressions
from service.store.tables.incident import alerts
from service.store.tables.keys import accounts

_NETWORK: Final = "network:"
_OPEN: Final = (ApprovalState.WAITING.value, ApprovalState.APPROVED.value)


class BlindingRepository:
    """See the port."""

    def __init__(self, connection: Connection, now: datetime) -> None:
        self._connection = connection
        self._now = now

    def add(self, suppression: Suppression, approval_id: ApprovalId) -> bool:
        """See the port."""
        fields = msgspec.structs.asdict(suppression)
        added = self._connection.execute(
            insert(suppressions)
            .values(**fields, approval_id=approval_id, created_at=self._now)
            .on_conflict_do_nothing()
            .returning(suppressions.c.id)
        )
        return added.first() is not None

    def suppression(self, suppression_id: str) -> StandingSuppression:
        """See the port."""
        row = self._connection.execute(select(suppressions).where(suppressions.c.id == suppression_id)).first()
        if row is None:
            raise NotFoundError(f"there is no suppression {suppression_id}", field="suppression")
        return _standing(row)

    def known(self, entity: str) -> bool:
        """See the port."""
        if entity.startswith(_NETWORK):
            return self._alerted_from(entity.removeprefix(_NETWORK))
        connection, _, ref = entity.removeprefix("account:").partition("/")
        here = select(accounts.c.id).where(accounts.c.connection_id == connection, accounts.c.ref == ref)
        alerted = select(alerts.c.id).where(alerts.c.entities.contains([entity]))
        registered = here.exists() if entity.startswith("account:") else false()
        return bool(self._connection.execute(select(registered | alerted.exists())).scalar_one())

    def _alerted_from(self, network: str) -> bool:
        newest = (
            select(learning.c.payload)
            .select_from(alerts)
            .join(activities, activities.c.id == alerts.c.activity_id)
            .join(learning, (learning.c.seq == activities.c.seq) & (learning.c.kind == RecordKind.ACTIVITY.value))
            .order_by(alerts.c.id.desc())
            .limit(MOST_ALERTS)
        )
        read = (decode(bytes(payload)) for payload in self._connection.execute(newest).scalars())
        return any(network in names_of(one.asn, one.ip) for one in read)

    def active(self, entity: str, detector: str | None) -> StandingSuppression | None:
        """See the port."""
        exactly = suppressions.c.entity == entity, suppressions.c.detector.is_not_distinct_from(detector)
        query = select(suppressions).where(*exactly, *self._in_force()).order_by(suppressions.c.expires_at.desc())
        row = self._connection.execute(query.limit(1)).first()
        return None if row is None else _standing(row)

    def suppressions(self, *, active: bool, after: str | None, limit: int) -> Sequence[StandingSuppression]:
        """See the port."""
        query = select(suppressions).order_by(suppressions.c.id.desc()).limit(limit)
        if active:
            query = query.where(*self._in_force())
        if after is not None:
            query = query.where(suppressions.c.id < after)
        return [_standing(row) for row in self._connection.execute(query)]

    def _in_force(self) -> tuple[ColumnElement[bool], ...]:
        return suppressions.c.lifted_at.is_(None), suppressions.c.expires_at > self._now

    def lift(self, suppression_id: str, by: str) -> bool:
        """See the port."""
        result = self._connection.execute(
            update(suppressions)
            .where(suppressions.c.id == suppression_id, suppressions.c.lifted_at.is_(None))
            .values(lifted_at=self._now, lifted_by=by)
        )
        return result.rowcount == 1

    def differences(self) -> Sequence[str]:
        """See the port."""
        return differences(self._connection, self._now)

    def settings(self) -> EngineSettings | None:
        """See the port. What was asked for and has no place yet counts: else two changes would overwrite each other."""
        kind = RecordKind.SETTINGS.value
        asked = select(learning_requests.c.payload).where(
            learning_requests.c.kind == kind, learning_requests.c.seq.is_(None)
        )
        payload = self._connection.execute(asked.order_by(learning_requests.c.id.desc()).limit(1)).scalar()
        if payload is not None:
            payload = msgspec.json.decode(bytes(payload), type=Warranted).row
        else:
            newest = select(learning.c.payload).where(learning.c.kind == kind).order_by(learning.c.seq.desc())
            payload = self._connection.execute(newest.limit(1)).scalar()
        return None if payload is None else msgspec.json.decode(bytes(payload), type=EngineSettings)

    def waiting(self, action: str, target: str) -> Sequence[ActionDocument]:
        """See the port."""
        query = select(approvals.c.document).where(*self._open_still(), *_asks(action, target))
        found = self._connection.execute(query.order_by(approvals.c.id.desc()).limit(MOST_WAITING))
        return [document for document in map(readable, found.scalars()) if document is not None]

    def waiting_of(self, requester: str) -> int:
        """See the port."""
        theirs = approvals.c.subject == Subject.BLIND.value, approvals.c.requester == requester
        query = select(func.count()).select_from(approvals).where(*self._open_still(), *theirs)
        return int(self._connection.execute(query).scalar_one())

    def _open_still(self) -> tuple[ColumnElement[bool], ...]:
        return approvals.c.state.in_(_OPEN), approvals.c.approve_by > self._now

    def newest(self, action: str, target: str) -> ApprovalId | None:
        """See the port."""
        query = select(approvals.c.id).where(*_asks(action, target)).order_by(approvals.c.id.desc()).limit(1)
        found = self._connection.execute(query).scalar()
        return None if found is None else ApprovalId(found)

    def rules_in_force(self) -> str | None:
        """See the port."""
        newest = select(learning.c.payload).where(learning.c.kind == RecordKind.RULES.value)
        payload = self._connection.execute(newest.order_by(learning.c.seq.desc()).limit(1)).scalar()
        return None if payload is None else str(msgspec.json.decode(bytes(payload))["digest"])

    def files_of(self, digest: str) -> Mapping[str, str] | None:
        """See the port."""
        found: Mapping[str, str] | None = self._connection.execute(
            select(rule_sets.c.files).where(rule_sets.c.digest == digest)
        ).scalar()
        return found

    def keep_files(self, digest: str, files: Mapping[str, str]) -> None:
        """See the port."""
        kept = insert(rule_sets).values(digest=digest, files=dict(files), created_at=self._now)
        self._connection.execute(kept.on_conflict_do_nothing())

    def adopted(self, digest: str, approval_id: ApprovalId | None) -> None:
        """See the port."""
        newest = self._connection.execute(select(rule_adoptions).order_by(rule_adoptions.c.id.desc()).limit(1)).first()
        if newest is not None and newest.digest == digest and approval_id in (None, newest.approval_id):
            return
        made = insert(rule_adoptions).values(digest=digest, approval_id=approval_id, at=self._now)
        self._connection.execute(made)

    def superseded(self, approval_id: ApprovalId) -> bool:
        """See the port."""
        by_it = select(rule_adoptions).where(rule_adoptions.c.approval_id == approval_id)
        first = self._connection.execute(by_it.order_by(rule_adoptions.c.id).limit(1)).first()
        if first is None:
            return False
        later = rule_adoptions.c.id > first.id, rule_adoptions.c.digest != first.digest
        return self._connection.execute(select(rule_adoptions.c.id).where(*later).limit(1)).first() is not None


def _asks(action: str, target: str) -> tuple[ColumnElement[bool], ...]:
    asked: Any = {"what": [{"action": action, "target": {"value": target}}]}
    return approvals.c.subject == Subject.BLIND.value, approvals.c.document.cast(JSONB).contains(asked)


def _standing(row: Row[Any]) -> StandingSuppression:
    told = Suppression(
        id=row.id,
        entity=row.entity,
        detector=row.detector,
        owner=row.owner,
        reason=row.reason,
        expires_at=row.expires_at,
    )
    return StandingSuppression(told, ApprovalId(row.approval_id), row.created_at, row.lifted_at, row.lifted_by)
