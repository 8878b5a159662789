"""The audit log as an RFC 6962 tree over the entries of `audit_entries`.

A sequencer gives committed entries their leaf indexes, one writer at a time under an advisory lock: ids of rolled back
transactions leave gaps, leaf indexes never do. `verify` trusts nothing that is stored but the entries' bodies: it hashes
every one of them again and compares leaf hashes, the complete subtrees, each root that was ever written down, the personal
fields with their commitments, and what only the authority does with the database role that wrote it. It reads one
snapshot, so a log that grows meanwhile is no fault. It goes on whatever it finds, and tells of each kind of fault some, the
gravest kind first: who can write entries cannot hide a changed one behind many that are merely odd.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import IntEnum, auto
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Connection, Row, bindparam, func, insert, select, text, tuple_, update

from service.domain.canonical import opens
from service.domain.merkle import EMPTY_ROOT, HASH_BYTES, Frontier, Node, inclusion_proof, leaf_hash
from service.domain.timeline import is_authoritys
from service.store import locks
from service.store.grants import AUTHORITY
from service.store.tables.proof import audit_entries, audit_nodes, audit_personal, audit_tree

BATCH = 2000
MOST_BYTES: Final = 32_000_000
"""Of bodies that are read at once, beside the first."""
MOST_SHOWN: Final = 20
"""Faults of one kind in a report, which stays readable; the others are counted."""
PATIENCE = timedelta(minutes=5)
"""How long an entry may wait for its place in the tree."""


def _read(connection: Connection, wanted: ColumnElement[bool], order: str) -> Sequence[Row[Any]]:
    """Return the first entries by a column, as many as are read at once."""
    columns = (audit_entries.c[name] for name in ("id", "leaf_index", "body", "leaf_hash", "written_by"))
    first = select(*columns).where(wanted).order_by(audit_entries.c[order]).limit(BATCH).subquery()
    size = func.octet_length(first.c.body)
    sized = select(first, (func.sum(size).over(order_by=first.c[order]) - size).label("before")).subquery()
    return connection.execute(select(sized).where(sized.c.before < MOST_BYTES).order_by(sized.c[order])).all()


def _frontier(connection: Connection) -> Frontier:
    row = connection.execute(select(audit_tree).order_by(audit_tree.c.size.desc()).limit(1)).first()
    if row is None:
        return Frontier()
    hashes = bytes(row.frontier)
    return Frontier(row.size, tuple(hashes[i : i + HASH_BYTES] for i in range(0, len(hashes), HASH_BYTES)))


def sequence(connection: Connection, now: datetime) -> int:
    """Give waiting entries their place in the tree; return how many got one. Runs inside the caller's transaction."""
    locks.take(connection, "audit-sequencer")
    waiting = _read(connection, audit_entries.c.leaf_index.is_(None), "id")
    if not waiting:
        return 0
    frontier = _frontier(connection)
    nodes: list[Node] = []
    places: list[dict[str, object]] = []
    for row in waiting:
        leaf = leaf_hash(row.body.encode())
        places.append({"entry": row.id, "place": frontier.size, "leaf": leaf})
        frontier, made = frontier.append(leaf)
        nodes.extend(made)
    place = update(audit_entries).where(audit_entries.c.id == bindparam("entry"))
    connection.execute(place.values(leaf_index=bindparam("place"), leaf_hash=bindparam("leaf")), places)
    connection.execute(insert(audit_nodes), [n._asdict() for n in nodes])
    connection.execute(
        insert(audit_tree).values(
            size=frontier.size, root=frontier.root(), frontier=b"".join(frontier.subtrees), at=now
        )
    )
    return len(waiting)


@dataclass(frozen=True, slots=True)
class AuditReport:
    """What a verification found; `faults` are sentences, empty when everything holds.

    Where a leaf is missing, `size` and `root` are of the leaves before it.
    """

    size: int
    root: str
    waiting: int
    heads: int
    """How many written-down roots were compared."""
    personal: int
    """How many personal fields were compared with their commitments; erased ones are not counted."""
    faults: tuple[str, ...]


class _Kind(IntEnum):
    """What a fault is about, the gravest first."""

    CHANGED = auto()
    MISSING = auto()
    TREE = auto()
    AUTHOR = auto()
    PERSONAL = auto()
    MALFORMED = auto()
    WAITING = auto()


class _Said(msgspec.Struct):
    """What of an entry's body is looked at."""

    kind: str
    by: str
    personal: dict[str, str] = {}


@dataclass(slots=True)
class _Check:
    frontier: Frontier = field(default_factory=Frontier)
    end: int = 0
    """The place after the last entry; beyond the frontier once a leaf was missing."""
    heads: int = 0
    personal: int = 0
    found: Counter[_Kind] = field(default_factory=Counter)
    shown: list[tuple[_Kind, str]] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether no leaf was missing so far."""
        return self.end == self.frontier.size

    def fault(self, kind: _Kind, sentence: str) -> None:
        """Note a fault."""
        self.found[kind] += 1
        if self.found[kind] <= MOST_SHOWN:
            self.shown.append((kind, sentence))
        elif self.found[kind] == MOST_SHOWN + 1:
            self.shown.append((kind, ""))

    def faults(self) -> Iterator[str]:
        """Yield what is told, the gravest first."""
        for kind, sentence in sorted(self.shown, key=lambda one: one[0]):
            yield sentence or f"{self.found[kind] - MOST_SHOWN} more faults of the kind just named"


def verify(connection: Connection, now: datetime, progress: Callable[[int, int], None] | None = None) -> AuditReport:
    """Hash the whole log again and compare it with everything that was written down about it.

    `connection` has no transaction begun yet: this takes a read-only snapshot on it. `progress` is told (leaves checked,
    leaves in all).
    """
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    newest = connection.execute(select(func.max(audit_tree.c.size))).scalar() or 0
    check = _Check()
    for rows in _batches(connection):
        _check_batch(connection, check, rows)
        if progress is not None:
            progress(check.end, newest)
    _check_end(connection, check, newest)
    waiting = _check_outside(connection, check, now)
    size = check.frontier.size
    root = check.frontier.root() if size else EMPTY_ROOT
    return AuditReport(size, root.hex(), waiting, check.heads, check.personal, tuple(check.faults()))


def proof_of(connection: Connection, entry_id: int) -> tuple[int, int, tuple[bytes, ...], bytes]:
    """Return (leaf index, tree size, inclusion proof, root) of a sequenced entry. Raises LookupError when it is not."""
    index = connection.execute(select(audit_entries.c.leaf_index).where(audit_entries.c.id == entry_id)).scalar()
    head = connection.execute(select(audit_tree).order_by(audit_tree.c.size.desc()).limit(1)).first()
    if index is None or head is None:
        raise LookupError(f"audit entry {entry_id} is not in the tree yet")

    def read(level: int, position: int) -> bytes:
        found = connection.execute(
            select(audit_nodes.c.hash).where(audit_nodes.c.level == level, audit_nodes.c.position == position)
        ).scalar_one()
        return bytes(found)

    return index, head.size, inclusion_proof(read, index, head.size), bytes(head.root)


def _batches(connection: Connection) -> Iterator[Sequence[Row[Any]]]:
    after = -1
    while True:
        rows = _read(connection, audit_entries.c.leaf_index > after, "leaf_index")
        if not rows:
            return
        yield rows
        after = rows[-1].leaf_index


def _check_batch(connection: Connection, check: _Check, rows: Sequence[Row[Any]]) -> None:
    heads = _heads(connection, check.frontier.size, check.frontier.size + len(rows))
    personal = _personal(connection, [row.id for row in rows])
    made: list[Node] = []
    for row in rows:
        leaf = leaf_hash(row.body.encode())
        if row.leaf_hash is None or leaf != bytes(row.leaf_hash):
            check.fault(_Kind.CHANGED, f"{_name(row)} was changed: its hash differs from the one kept")
        _check_body(check, row, personal.get(row.id, {}))
        if row.leaf_index != check.end:
            check.fault(
                _Kind.MISSING,
                f"leaf {check.end} is missing: entry {row.id} follows and says it is leaf {row.leaf_index}",
            )
        made.extend(_grown(check, row, leaf, heads))
        check.end = row.leaf_index + 1
    for fault in _compare_nodes(connection, made):
        check.fault(_Kind.TREE, fault)


def _grown(check: _Check, row: Row[Any], leaf: bytes, heads: Mapping[int, bytes]) -> Sequence[Node]:
    """Add a leaf to the tree, and return what is complete by it; after a missing one that is the leaf alone."""
    if not check.whole or row.leaf_index != check.end:
        return (Node(0, row.leaf_index, leaf),)
    check.frontier, nodes = check.frontier.append(leaf)
    expected = heads.get(check.frontier.size)
    if expected is not None:
        check.heads += 1
        if expected != check.frontier.root():
            check.fault(_Kind.TREE, f"the root at size {check.frontier.size} differs from the one written down then")
    return nodes


def _check_end(connection: Connection, check: _Check, newest: int) -> None:
    size = check.end
    if newest > size:
        check.fault(_Kind.MISSING, f"the tree was {newest} leaves long and {size} are left: entries were cut off")
    elif newest < size:
        check.fault(_Kind.TREE, f"{size} entries have a place, but the newest root written down is over {newest}")
    kept = connection.execute(select(func.count()).select_from(audit_nodes)).scalar_one()
    # A tree of n leaves has 2n - popcount(n) complete subtrees.
    if kept != 2 * size - size.bit_count():
        check.fault(_Kind.TREE, f"{kept} subtrees are kept, a tree of {size} leaves has {2 * size - size.bit_count()}")


def _check_outside(connection: Connection, check: _Check, now: datetime) -> int:
    """Look at the entries that are not in the tree; return how many wait for their place."""
    place = audit_entries.c.leaf_index
    waiting, late, hidden = connection.execute(
        select(
            func.count().filter(place.is_(None)),
            func.count().filter(place.is_(None), audit_entries.c.at < now - PATIENCE),
            func.count().filter(place < 0),
        ).where(place.is_(None) | (place < 0))
    ).one()
    if hidden:
        check.fault(_Kind.MISSING, f"{hidden} entries have a place outside of the tree: they were hidden from it")
    if late:
        check.fault(_Kind.WAITING, f"{late} entries wait for the sequencer since over {PATIENCE}: is a worker running?")
    return int(waiting)


def _heads(connection: Connection, above: int, up_to: int) -> Mapping[int, bytes]:
    between = select(audit_tree.c.size, audit_tree.c.root).where(audit_tree.c.size > above, audit_tree.c.size <= up_to)
    return {row.size: bytes(row.root) for row in connection.execute(between)}


def _personal(connection: Connection, entries: Sequence[int]) -> Mapping[int, Mapping[str, Row[Any]]]:
    found: dict[int, dict[str, Row[Any]]] = {}
    for row in connection.execute(select(audit_personal).where(audit_personal.c.entry_id.in_(entries))):
        found.setdefault(row.entry_id, {})[row.field] = row
    return found


def _name(row: Row[Any]) -> str:
    return f"entry {row.id} (leaf {row.leaf_index}, by {row.written_by or 'a role that was not kept'})"


def _check_body(check: _Check, row: Row[Any], kept: Mapping[str, Row[Any]]) -> None:
    try:
        said = msgspec.json.decode(row.body, type=_Said)
    except (msgspec.DecodeError, RecursionError):
        check.fault(_Kind.MALFORMED, f"{_name(row)} is no entry")
        return
    if row.written_by not in (None, AUTHORITY) and is_authoritys(said.kind, said.by):
        check.fault(_Kind.AUTHOR, f"{_name(row)} tells what only the authority does, whose role is {AUTHORITY}")
    _check_personal(check, row, said.personal, kept)


def _check_personal(check: _Check, row: Row[Any], committed: Mapping[str, str], kept: Mapping[str, Row[Any]]) -> None:
    if set(kept) != set(committed):
        check.fault(_Kind.PERSONAL, f"{_name(row)} commits to other personal fields than are kept")
        return
    for name, field_row in kept.items():
        if field_row.salt is None:
            continue
        check.personal += 1
        if field_row.value is None or not opens(committed[name], field_row.value, bytes(field_row.salt)):
            check.fault(_Kind.PERSONAL, f"the personal field {name} of entry {row.id} is not what the entry commits to")


def _compare_nodes(connection: Connection, made: Sequence[Node]) -> Iterator[str]:
    kept: dict[tuple[int, int], bytes] = {}
    for start in range(0, len(made), BATCH):
        places = [(node.level, node.position) for node in made[start : start + BATCH]]
        rows = connection.execute(
            select(audit_nodes).where(tuple_(audit_nodes.c.level, audit_nodes.c.position).in_(places))
        )
        kept |= {(row.level, row.position): bytes(row.hash) for row in rows}
    for node in made:
        if kept.get((node.level, node.position)) != node.hash:
            yield f"the subtree (level {node.level}, position {node.position}) differs from the one kept"
