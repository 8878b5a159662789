"""The audit log's hash tree: RFC 6962 section 2.1 (the same tree as RFC 9162), with proofs and an append-only frontier.

Rules:

- A leaf is SHA-256(0x00 ‖ entry), an inner node SHA-256(0x01 ‖ left ‖ right), the empty tree SHA-256 of nothing. The
  prefixes keep an inner node from being passed off as an entry.
- The left part of a tree of n leaves is the largest power of two below n. So every complete subtree, once there, never
  changes: node (level, position) covers 2^level leaves from leaf position · 2^level on. `Frontier.append` returns the
  nodes that it completes; a store that keeps them answers every proof with O(log n) reads.
- A proof is data from outside. `verify_inclusion` and `verify_consistency` return nothing when it holds and raise
  `ProofRefusedError` otherwise, so that nobody can forget to look at the answer.
- Verifying needs roots that the caller already trusts (a signed checkpoint). A root that came with the proof proves
  nothing.
"""

import hashlib
import hmac
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, NamedTuple

from service.domain.errors import InputError, PortcullisError

HASH_BYTES: Final = 32
MAX_SIZE: Final = 2**63 - 1
"""Leaves in one tree, at most: what a signed 64-bit column can count."""
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


class ProofRefusedError(PortcullisError):
    """The proof does not lead from the leaf, or from the older root, to the root it was checked against."""

    code: ClassVar[str] = "audit_proof_refused"


class Node(NamedTuple):
    """The root of one complete subtree of 2^level leaves, the first of them being leaf position · 2^level."""

    level: int
    position: int
    hash: bytes


ReadNode = Callable[[int, int], bytes]
"""Returns the hash of the complete subtree (level, position); level 0 are the leaf hashes."""


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash under which an entry enters the tree."""
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node over its two children's hashes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(frozen=True, slots=True)
class Frontier:
    """All that is needed to go on appending: the size and the roots of the complete subtrees, largest first.

    There is one subtree for every 1 bit of `size`. Immutable: `append` returns the next frontier, so that a transaction
    that rolls back leaves the old one in force. Raises `InputError` when the parts do not fit together.
    """

    size: int = 0
    subtrees: tuple[bytes, ...] = ()

    def __post_init__(self) -> None:
        if not 0 <= self.size <= MAX_SIZE:
            raise InputError(f"a tree has 0 to {MAX_SIZE} leaves, not {self.size}", field="size")
        if len(self.subtrees) != self.size.bit_count() or any(len(h) != HASH_BYTES for h in self.subtrees):
            raise InputError(
                f"a frontier of {self.size} leaves is {self.size.bit_count()} hashes of {HASH_BYTES} bytes",
                field="subtrees",
            )

    def append(self, leaf: bytes) -> tuple["Frontier", tuple[Node, ...]]:
        """Return the frontier with one more leaf hash, and the nodes completed by it, leaf first; O(log n)."""
        _check_hash(leaf, "leaf")
        nodes = [Node(0, self.size, leaf)]
        rest = list(self.subtrees)
        while self.size >> nodes[-1].level & 1:
            level, position, right = nodes[-1]
            nodes.append(Node(level + 1, position >> 1, node_hash(rest.pop(), right)))
        return Frontier(self.size + 1, (*rest, nodes[-1].hash)), tuple(nodes)

    def root(self) -> bytes:
        """Return the tree's root; `EMPTY_ROOT` when there is no leaf."""
        if not self.subtrees:
            return EMPTY_ROOT
        root = self.subtrees[-1]
        for left in reversed(self.subtrees[:-1]):
            root = node_hash(left, root)
        return root


def root_of(leaves: Iterable[bytes]) -> bytes:
    """Return the root over leaf hashes in order: for a batch of entries, or to re-hash a log."""
    level = list(leaves)
    while len(level) > 1:
        # A last one without a neighbour is its own subtree, until it meets one.
        alone = level[-1:] if len(level) % 2 else []
        level = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)] + alone
    return level[0] if level else EMPTY_ROOT


def inclusion_proof(read: ReadNode, index: int, size: int) -> tuple[bytes, ...]:
    """Return the hashes from leaf `index` up to the root of the tree of `size` leaves (RFC 6962 2.1.1).

    Raises `InputError` unless 0 ≤ index < size.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise InputError(f"a tree of {size} leaves has no leaf {index}", field="index")
    path: list[bytes] = []
    start, width = 0, size
    while width > 1:
        left = _left_width(width)
        if index < start + left:
            path.append(_subtree_root(read, start + left, width - left))
            width = left
        else:
            path.append(_subtree_root(read, start, left))
            start, width = start + left, width - left
    return tuple(reversed(path))


def consistency_proof(read: ReadNode, old_size: int, new_size: int) -> tuple[bytes, ...]:
    """Return the hashes that show the tree of `old_size` leaves as the beginning of the later one (RFC 6962 2.1.2).

    Raises `InputError` unless 1 ≤ old_size ≤ new_size: that something grew out of nothing needs no proof.
    """
    if not 1 <= old_size <= new_size <= MAX_SIZE:
        raise InputError(f"no consistency proof leads from {old_size} to {new_size} leaves", field="old_size")
    path: list[bytes] = []
    start, width = 0, new_size
    while start + width > old_size:
        left = _left_width(width)
        if old_size <= start + left:
            path.append(_subtree_root(read, start + left, width - left))
            width = left
        else:
            path.append(_subtree_root(read, start, left))
            start, width = start + left, width - left
    if start > 0:
        path.append(_subtree_root(read, start, width))
    return tuple(reversed(path))


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Return if the leaf hash stands at `index` in the tree of `size` leaves with this root, else raise.

    Raises `ProofRefusedError`. The procedure of RFC 9162 2.1.3.2.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise ProofRefusedError(f"a tree of {size} leaves has no leaf {index}", field="index")
    _check_proof(leaf, proof, root)
    climbed, left_over = _climb(leaf, leaf, index, size - 1, proof)
    if left_over != 0 or not hmac.compare_digest(climbed[1], root):
        raise ProofRefusedError(
            f"the proof does not lead from leaf {index} to the root of {size} leaves", field="proof"
        )


def verify_consistency(old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Return if the older tree is the beginning of the newer one, else raise `ProofRefusedError`.

    The procedure of RFC 9162 2.1.4.2. An empty older tree and two equal trees need an empty proof.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise ProofRefusedError(f"a log of {new_size} leaves never had {old_size}", field="old_size")
    _check_proof(old_root, proof, new_root)
    if old_size in (0, new_size):
        _verify_trivial_growth(old_size, old_root, new_size, new_root, proof)
        return
    steps = list(proof)
    if old_size & (old_size - 1) == 0:
        steps.insert(0, old_root)
    if not steps:
        raise ProofRefusedError("the proof is empty", field="proof")
    shift = ((old_size - 1) ^ old_size).bit_length() - 1
    (old, new), left_over = _climb(steps[0], steps[0], (old_size - 1) >> shift, (new_size - 1) >> shift, steps[1:])
    if left_over != 0 or not (hmac.compare_digest(old, old_root) and hmac.compare_digest(new, new_root)):
        raise ProofRefusedError(f"the log of {new_size} leaves does not continue that of {old_size}", field="proof")


def _climb(old: bytes, new: bytes, index: int, last: int, proof: Sequence[bytes]) -> tuple[tuple[bytes, bytes], int]:
    """Fold a proof upwards; returns the two roots reached and what is left of `last`: 0 if the length was right.

    `old` takes only what lies to its left, `new` takes everything: for an inclusion proof only `new` matters.
    """
    for sibling in proof:
        if last == 0:
            return (old, new), -1
        if index & 1 or index == last:
            old, new = node_hash(sibling, old), node_hash(sibling, new)
            while index & 1 == 0 and index != 0:
                index, last = index >> 1, last >> 1
        else:
            new = node_hash(new, sibling)
        index, last = index >> 1, last >> 1
    return (old, new), last


def _verify_trivial_growth(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    expected = new_root if old_size == new_size else EMPTY_ROOT
    if proof or not hmac.compare_digest(old_root, expected):
        raise ProofRefusedError(f"the log of {new_size} leaves does not continue that of {old_size}", field="proof")


def _subtree_root(read: ReadNode, start: int, width: int) -> bytes:
    """Return the root over the leaves [start, start + width), where start is a multiple of the left part's width."""
    complete: list[bytes] = []
    while width:
        level = width.bit_length() - 1
        complete.append(read(level, start >> level))
        start, width = start + (1 << level), width - (1 << level)
    root = complete.pop()
    while complete:
        root = node_hash(complete.pop(), root)
    return root


def _left_width(width: int) -> int:
    """Return the largest power of two below `width`, for width > 1."""
    return 1 << (width - 1).bit_length() - 1


def _check_hash(value: bytes, field: str) -> None:
    if len(value) != HASH_BYTES:
        raise InputError(f"a hash is {HASH_BYTES} bytes, not {len(value)}", field=field)


def _check_proof(first: bytes, proof: Sequence[bytes], root: bytes) -> None:
    if len(proof) > MAX_SIZE.bit_length() + 1 or any(len(h) != HASH_BYTES for h in (first, *proof, root)):
        raise ProofRefusedError(f"a proof is at most 64 hashes of {HASH_BYTES} bytes each", field="proof")
