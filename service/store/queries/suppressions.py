"""Which suppressions the engine goes by, held against those that a quorum approved.

Rules: what the engine goes by is what any process would start with: the snapshot of the baselines, then the rows of the
sequence after it. What waits for its place with the next activity is no difference. Nothing here trusts the API process:
both sides are rows, and it can write the snapshot but not the list.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

import msgspec
from sqlalchemy import Connection, select

from rules.baseline.layout import Kind
from rules.learning import Lifted, RecordKind
from rules.learning import Suppression as Applied
from service.domain.blinding import Suppression
from service.domain.observing import microseconds
from service.store.tables.activity import learning, learning_requests
from service.store.tables.baseline import baseline_snapshot, baselines
from service.store.tables.blinding import suppressions

MOST_TOLD: Final = 100
_KINDS: Final = (RecordKind.SUPPRESSION.value, RecordKind.SUPPRESSION_LIFTED.value)


def differences(connection: Connection, now: datetime) -> Sequence[str]:
    """Return one sentence for each suppression that is in force and not approved, or the other way; at most 100."""
    applied = {i: one for i, one in _applied(connection).items() if one is None or one.until_us > microseconds(now)}
    listed = {row.id: row for row in connection.execute(select(suppressions))}
    waiting = _waiting(connection)
    found = []
    for identity, one in sorted(applied.items()):
        row = listed.get(identity)
        if one is None:
            found.append(f"{identity} is stored for the engine and cannot be read")
        elif row is None:
            found.append(f"{identity} suppresses findings about {one.entity}, and no quorum approved it")
        elif _as_approved(row) != one:
            found.append(f"{identity} suppresses findings about {one.entity} otherwise than a quorum approved")
        elif row.lifted_at is not None and identity not in waiting:
            found.append(f"{identity} was lifted and still suppresses findings about {one.entity}")
    for identity, row in sorted(listed.items()):
        in_force = row.lifted_at is None and row.expires_at > now
        if in_force and identity not in applied and identity not in waiting:
            found.append(f"{identity} is listed as active, and the engine does not go by it: ask for it again")
    return found[:MOST_TOLD]


def _applied(connection: Connection) -> Mapping[str, Applied | None]:
    """Return what the engine goes by, by id; None for what cannot be read."""
    stands_at = connection.execute(select(baseline_snapshot.c.seq)).scalar_one()
    stored = select(baselines.c.entity, baselines.c.state).where(baselines.c.kind == int(Kind.SUPPRESSION))
    found = {row.entity: row.state for row in connection.execute(stored)}
    newer = select(learning.c.kind, learning.c.payload).where(learning.c.seq > stands_at, learning.c.kind.in_(_KINDS))
    for row in connection.execute(newer.order_by(learning.c.seq)):
        if row.kind == RecordKind.SUPPRESSION:
            found[msgspec.json.decode(row.payload, type=Applied).id] = row.payload
        else:
            found[msgspec.json.decode(row.payload, type=Lifted).id] = b""
    return {name: _read(state) for name, state in found.items() if state}


def _read(state: bytes) -> Applied | None:
    try:
        return msgspec.json.decode(state, type=Applied)
    except msgspec.MsgspecError:
        return None


def _as_approved(row: object) -> Applied:
    told = msgspec.convert(row, Suppression, from_attributes=True)
    return msgspec.json.decode(told.row(), type=Applied)


def _waiting(connection: Connection) -> frozenset[str]:
    query = select(learning_requests.c.subject).where(
        learning_requests.c.seq.is_(None), learning_requests.c.kind.in_(_KINDS)
    )
    return frozenset(connection.execute(query).scalars())
