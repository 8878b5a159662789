"""Which address lists are in force, as the learning sequence has it and requests will have left it.

Rules: one statement reads both, or a request that gets its place in between would be seen in neither. What the process that
scores would refuse counts for nothing here either.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
from sqlalchemy import Connection, LargeBinary, func, literal, select, union_all

from rules.learning import RecordKind
from service.domain.blinding import Warranted
from service.domain.errors import InputError
from service.domain.listed import WATCHED, ListChange, in_force
from service.store.tables.activity import learning, learning_requests
from service.store.tables.forensics import address_labels

_KIND: Final = RecordKind.LISTS.value
_NEWEST: Final = (
    select(literal(0).label("place"), learning.c.payload.cast(LargeBinary).label("payload"))
    .where(learning.c.kind == _KIND)
    .order_by(learning.c.seq.desc())
    .limit(1)
    .subquery()
)
_WAITING: Final = select(learning_requests.c.id, learning_requests.c.payload).where(
    learning_requests.c.kind == _KIND, learning_requests.c.seq.is_(None)
)
_BOTH: Final = union_all(select(_NEWEST.c.place, _NEWEST.c.payload), _WAITING).order_by("place")


def names_in_force(connection: Connection) -> Sequence[str]:
    """Return the ids of the lists in force, oldest first."""
    names: tuple[str, ...] = ()
    for place, payload in connection.execute(_BOTH):
        if place == 0:
            names = in_force(bytes(payload))
            continue
        try:
            told = msgspec.json.decode(bytes(payload), type=Warranted)
            names = msgspec.json.decode(told.row, type=ListChange).after(names)
        except (msgspec.MsgspecError, InputError):
            continue
    return names


def watched(connection: Connection, names: Sequence[str]) -> int:
    """Return how many labels of these lists detectors look at."""
    of_them = address_labels.c.list_id.in_(names), address_labels.c.kind.in_(sorted(WATCHED))
    return int(connection.execute(select(func.count()).select_from(address_labels).where(*of_them)).scalar_one())
