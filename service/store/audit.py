"""The audit log as an RFC 6962 tree over the entries of `audit_entries`.

A sequencer gives committed entries their leaf indexes, one writer at a time under an advisory lock: ids of rolled back
transactions leave gaps, leaf indexes never do. `verify` trusts nothing that is stored but the entries' bodies: it hashes
every one of them again and compares leaf hashes, the complete subtrees, and each root that was ever written down.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Connection, Row, func, insert, select, text, update

from service.domain.merkle import EMPTY_ROOT, HASH_BYTES, Frontier, Node, inclusion_proof, leaf_hash
from service.store.tables.proof import audit_entries, audit_nodes, audit_tree

BATCH = 2000


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
    for row in waiting:
        leaf = leaf_hash(row.body.encode())
        connection.execute(
            update(audit_entries).where(audit_entries.c.id == row.id).values(leaf_index=frontier.size, leaf_hash=leaf)
        )
        frontier, made = frontier.append(leaf)
        nodes.extend(made)
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
    faults: tuple[str, ...]


def verify(connection: Connection, now: datetime) -> AuditReport:
    """Hash the whole log again and compare it with everything that was written down about it."""
    faults: list[str] = []
    heads = {row.size: bytes(row.root) for row in connection.execute(select(audit_tree.c.size, audit_tree.c.root))}
    frontier = Frontier()
    for row in _entries(connection):
        if row.leaf_index != frontier.size:
            faults.append(f"leaf {frontier.size} is missing: entry {row.id} says it is leaf {row.leaf_index}")
            break
        leaf = leaf_hash(row.body.encode())
        if leaf != bytes(row.leaf_hash):
            faults.append(f"entry {row.id} (leaf {row.leaf_index}) was changed: its hash differs from the one kept")
        frontier, made = frontier.append(leaf)
        faults.extend(_compare_nodes(connection, made))
        expected = heads.get(frontier.size)
        if expected is not None and expected != frontier.root():
            faults.append(f"the root at size {frontier.size} differs from the one written down then")
    newest = max(heads, default=0)
    if newest != frontier.size:
        faults.append(f"the tree was {newest} leaves long and {frontier.size} are left: entries were cut off")
    waiting, oldest = connection.execute(
        select(func.count(), func.min(audit_entries.c.at)).where(audit_entries.c.leaf_index.is_(None))
    ).one()
    if waiting and oldest < now - timedelta(minutes=5):
        faults.append(f"{waiting} entries wait for the sequencer since {oldest.isoformat()}: is a worker running?")
    root = frontier.root() if frontier.size else EMPTY_ROOT
    return AuditReport(frontier.size, root.hex(), waiting, len(heads), tuple(faults))


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


def _entries(connection: Connection) -> Iterator[Row[Any]]:
    ordered = (
        select(audit_entries)
        .where(audit_entries.c.leaf_index.is_not(None))
        .order_by(audit_entries.c.leaf_index)
        .execution_options(yield_per=BATCH)
    )
    yield from connection.execute(ordered)


def _compare_nodes(connection: Connection, made: tuple[Node, ...]) -> Iterator[str]:
    for node in made:
        kept = connection.execute(
            select(audit_nodes.c.hash).where(audit_nodes.c.level == node.level, audit_nodes.c.position == node.position)
        ).scalar()
        if kept is None or bytes(kept) != node.hash:
            yield f"subtree (level {node.level}, position {node.position}) differs from the one kept"
