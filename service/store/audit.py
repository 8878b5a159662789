"""The audit log as an RFC 6962 tree over the entries of `audit_entries`.

A sequencer gives committed entries their leaf indexes, one writer at a time under an advisory lock: ids of rolled back
transactions leave gaps, leaf indexes never do. `verify` trusts nothing that is stored but the entries' bodies: it hashes
every one of them again and compares leaf hashes, the complete subtrees, each root that was ever written down, and the
personal fields with their commitments. It reads one snapshot, so a log that grows meanwhile is no fault.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, bindparam, func, insert, select, text, tuple_, update

from service.domain.canonical import opens
from service.domain.merkle import EMPTY_ROOT, HASH_BYTES, Frontier, Node, inclusion_proof, leaf_hash
from service.store.tables.proof import audit_entries, audit_nodes, audit_personal, audit_tree

BATCH = 2000
MOST_FAULTS = 100
"""After so many a verification stops looking: what is wrong is clear, and the report stays readable."""
PATIENCE = timedelta(minutes=5)
"""How long an entry may wait for its place in the tree."""


def _frontier(connection: Connection) -> Frontier:
    row = connection.execute(select(audit_tree).order_by(audit_tree.c.size.desc()).limit(1)).first()
    if row is None:
        return Frontier()
    hashes = bytes(row.frontier)
    return Frontier(row.size, tuple(hashes[i : i + HASH_BYTES] for i in range(0, len(hashes), HASH_BYTES)))


def sequence(connection: Connection, now: datetime) -> int:
    """Give waiting entries their place in the tree; return how many got one. Runs inside the caller's transaction."""
    connection.execute(text("SELECT pg_advisory_xact_lock(hashtextextended('audit-sequencer', 0))"))
    waiting = connection.execute(
        select(audit_entries.c.id, audit_entries.c.body)
        .where(audit_entries.c.leaf_index.is_(None))
        .order_by(audit_entries.c.id)
        .limit(BATCH)
    ).all()
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
    """What a verification found; `faults` are sentences, empty when everything holds."""

    size: int
    root: str
    waiting: int
    heads: int
    """How many written-down roots were compared."""
    personal: int
    """How many personal fields were compared with their commitments; erased ones are not counted."""
    faults: tuple[str, ...]


@dataclass(slots=True)
class _Check:
    frontier: Frontier = field(default_factory=Frontier)
    heads: int = 0
    personal: int = 0
    faults: list[str] = field(default_factory=list)


def verify(connection: Connection, now: datetime, progress: Callable[[int, int], None] | None = None) -> AuditReport:
    """Hash the whole log again and compare it with everything that was written down about it.

    `connection` has no transaction begun yet: this takes a read-only snapshot on it. `progress` is told (leaves checked,
    leaves in all).
    """
    connection.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
    newest = connection.execute(select(func.max(audit_tree.c.size))).scalar() or 0
    check = _Check()
    for rows in _batches(connection):
        if not _check_batch(connection, check, rows):
            break
        if progress is not None:
            progress(check.frontier.size, newest)
    else:
        _check_end(connection, check, newest)
    waiting, oldest = connection.execute(
        select(func.count(), func.min(audit_entries.c.at)).where(audit_entries.c.leaf_index.is_(None))
    ).one()
    if waiting and oldest < now - PATIENCE:
        check.faults.append(
            f"{waiting} entries wait for the sequencer since {oldest.isoformat()}: is a worker running?"
        )
    size = check.frontier.size
    root = check.frontier.root() if size else EMPTY_ROOT
    return AuditReport(size, root.hex(), waiting, check.heads, check.personal, tuple(check.faults[:MOST_FAULTS]))


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
        rows = connection.execute(
            select(audit_entries)
            .where(audit_entries.c.leaf_index > after)
            .order_by(audit_entries.c.leaf_index)
            .limit(BATCH)
        ).all()
        if not rows:
            return
        yield rows
        after = rows[-1].leaf_index


def _check_batch(connection: Connection, check: _Check, rows: Sequence[Row[Any]]) -> bool:
    """Check one run of entries; False when it makes no sense to go on."""
    heads = _heads(connection, check.frontier.size, rows[-1].leaf_index + 1)
    personal = _personal(connection, [row.id for row in rows])
    made: list[Node] = []
    for row in rows:
        if row.leaf_index != check.frontier.size:
            check.faults.append(
                f"leaf {check.frontier.size} is missing: entry {row.id} follows and says it is leaf {row.leaf_index}"
            )
            return False
        leaf = leaf_hash(row.body.encode())
        if row.leaf_hash is None or leaf != bytes(row.leaf_hash):
            check.faults.append(
                f"entry {row.id} (leaf {row.leaf_index}) was changed: its hash differs from the one kept"
            )
        _check_personal(check, row, personal.get(row.id, {}))
        check.frontier, nodes = check.frontier.append(leaf)
        made.extend(nodes)
        expected = heads.get(check.frontier.size)
        if expected is not None:
            check.heads += 1
            if expected != check.frontier.root():
                check.faults.append(f"the root at size {check.frontier.size} differs from the one written down then")
    check.faults.extend(_compare_nodes(connection, made))
    return len(check.faults) < MOST_FAULTS


def _check_end(connection: Connection, check: _Check, newest: int) -> None:
    size = check.frontier.size
    if newest > size:
        check.faults.append(f"the tree was {newest} leaves long and {size} are left: entries were cut off")
    elif newest < size:
        check.faults.append(f"{size} entries have a place, but the newest root written down is over {newest}")
    kept = connection.execute(select(func.count()).select_from(audit_nodes)).scalar_one()
    # A tree of n leaves has 2n - popcount(n) complete subtrees.
    if kept != 2 * size - size.bit_count():
        check.faults.append(f"{kept} subtrees are kept, a tree of {size} leaves has {2 * size - size.bit_count()}")


def _heads(connection: Connection, above: int, up_to: int) -> Mapping[int, bytes]:
    between = select(audit_tree.c.size, audit_tree.c.root).where(audit_tree.c.size > above, audit_tree.c.size <= up_to)
    return {row.size: bytes(row.root) for row in connection.execute(between)}


def _personal(connection: Connection, entries: Sequence[int]) -> Mapping[int, Mapping[str, Row[Any]]]:
    found: dict[int, dict[str, Row[Any]]] = {}
    for row in connection.execute(select(audit_personal).where(audit_personal.c.entry_id.in_(entries))):
        found.setdefault(row.entry_id, {})[row.field] = row
    return found


def _check_personal(check: _Check, row: Row[Any], kept: Mapping[str, Row[Any]]) -> None:
    try:
        body = json.loads(row.body)
        committed = dict(body["personal"]) if isinstance(body, dict) and "personal" in body else {}
    except (ValueError, TypeError):
        check.faults.append(f"entry {row.id} (leaf {row.leaf_index}) is not JSON with commitments")
        return
    if set(kept) != set(committed):
        check.faults.append(f"entry {row.id} (leaf {row.leaf_index}) commits to other personal fields than are kept")
        return
    for name, field_row in kept.items():
        if field_row.salt is None:
            continue
        check.personal += 1
        if field_row.value is None or not opens(str(committed[name]), field_row.value, bytes(field_row.salt)):
            check.faults.append(f"the personal field {name} of entry {row.id} is not what the entry commits to")


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
