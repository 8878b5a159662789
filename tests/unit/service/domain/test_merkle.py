"""The tree against the published Certificate Transparency vectors and against RFC 6962's recursive definition."""

import hashlib
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import InputError
from service.domain.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    Frontier,
    ProofRefusedError,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    node_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

CT_ENTRIES = [
    bytes.fromhex(text)
    for text in (
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    )
]
CT_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
SIZES = st.integers(min_value=1, max_value=70)


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962 2.1, word for word."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = naive_split(len(leaves))
    return node_hash(naive_root(leaves[:k]), naive_root(leaves[k:]))


def naive_path(m: int, leaves: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962 2.1.1."""
    if len(leaves) == 1:
        return []
    k = naive_split(len(leaves))
    if m < k:
        return [*naive_path(m, leaves[:k]), naive_root(leaves[k:])]
    return [*naive_path(m - k, leaves[k:]), naive_root(leaves[:k])]


def naive_subproof(m: int, leaves: Sequence[bytes], *, whole: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962 2.1.2."""
    if m == len(leaves):
        return [] if whole else [naive_root(leaves)]
    k = naive_split(len(leaves))
    if m <= k:
        return [*naive_subproof(m, leaves[:k], whole=whole), naive_root(leaves[k:])]
    return [*naive_subproof(m - k, leaves[k:], whole=False), naive_root(leaves[:k])]


def naive_split(size: int) -> int:
    k = 1
    while k * 2 < size:
        k *= 2
    return k


def leaves_of(size: int) -> list[bytes]:
    return [leaf_hash(str(i).encode()) for i in range(size)]


class Nodes:
    """The node store of a tree of so many leaves, filled by what `append` returns; counts its reads."""

    def __init__(self, size: int) -> None:
        self.nodes: dict[tuple[int, int], bytes] = {}
        self.reads = 0
        self.roots = [EMPTY_ROOT]
        frontier = Frontier()
        for leaf in leaves_of(size):
            frontier, completed = frontier.append(leaf)
            self.nodes.update({(node.level, node.position): node.hash for node in completed})
            self.roots.append(frontier.root())

    def read(self, level: int, position: int) -> bytes:
        self.reads += 1
        return self.nodes[level, position]


STORE = Nodes(70)


def test_the_roots_are_those_of_certificate_transparency() -> None:
    frontier = Frontier()
    assert frontier.root().hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    for entry, expected in zip(CT_ENTRIES, CT_ROOTS, strict=True):
        frontier, _ = frontier.append(leaf_hash(entry))
        assert frontier.root().hex() == expected


def test_the_inclusion_proofs_are_those_of_certificate_transparency() -> None:
    leaves = [leaf_hash(entry) for entry in CT_ENTRIES]
    nodes: dict[tuple[int, int], bytes] = {}
    frontier = Frontier()
    for leaf in leaves:
        frontier, completed = frontier.append(leaf)
        nodes |= {(node.level, node.position): node.hash for node in completed}
    proof = inclusion_proof(lambda level, position: nodes[level, position], 5, 8)
    assert [step.hex() for step in proof] == [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ]


@given(SIZES)
def test_the_frontier_agrees_with_the_recursive_definition(size: int) -> None:
    leaves = leaves_of(size)
    assert root_of(leaves) == naive_root(leaves) == STORE.roots[size]


@given(st.data())
def test_inclusion_agrees_with_the_definition_and_verifies(data: st.DataObject) -> None:
    size = data.draw(SIZES)
    index = data.draw(st.integers(0, size - 1))
    leaves = leaves_of(size)
    proof = inclusion_proof(STORE.read, index, size)
    assert list(proof) == naive_path(index, leaves)
    verify_inclusion(leaves[index], index, size, proof, STORE.roots[size])


@given(st.data())
def test_consistency_agrees_with_the_definition_and_verifies(data: st.DataObject) -> None:
    new = data.draw(SIZES)
    old = data.draw(st.integers(1, new))
    proof = consistency_proof(STORE.read, old, new)
    assert list(proof) == naive_subproof(old, leaves_of(new), whole=True)
    verify_consistency(old, STORE.roots[old], new, STORE.roots[new], proof)


@given(st.data())
def test_an_altered_inclusion_proof_is_refused(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 70))
    index = data.draw(st.integers(0, size - 1))
    leaf, root = leaves_of(size)[index], STORE.roots[size]
    proof = list(inclusion_proof(STORE.read, index, size))
    spoilt = data.draw(st.integers(0, len(proof) - 1))
    other = data.draw(st.integers(0, size - 1).filter(lambda i: i != index))
    wrong = [
        (leaf, index, [*proof[:spoilt], leaf_hash(b"forged"), *proof[spoilt + 1 :]]),
        (leaf, index, proof[:spoilt] + proof[spoilt + 1 :]),
        (leaf, index, [*proof, leaf_hash(b"more")]),
        (leaf_hash(b"forged"), index, proof),
        (leaf, other, proof),
        (leaf, size, proof),
        (leaf, -1, proof),
        (leaf, index, [*proof[:spoilt], b"short", *proof[spoilt + 1 :]]),
    ]
    for forged_leaf, forged_index, forged_proof in wrong:
        with pytest.raises(ProofRefusedError):
            verify_inclusion(forged_leaf, forged_index, size, forged_proof, root)


@given(st.data())
def test_an_altered_history_is_refused(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 70))
    old = data.draw(st.integers(1, new - 1))
    old_root, new_root = STORE.roots[old], STORE.roots[new]
    proof = list(consistency_proof(STORE.read, old, new))
    spoilt = data.draw(st.integers(0, len(proof) - 1))
    forged = leaf_hash(b"forged")
    wrong = [
        (forged, new_root, proof),
        (old_root, forged, proof),
        (old_root, new_root, [*proof[:spoilt], forged, *proof[spoilt + 1 :]]),
        (old_root, new_root, proof[:spoilt] + proof[spoilt + 1 :]),
        (old_root, new_root, [*proof, forged]),
        (old_root, new_root, []),
    ]
    for was, now, steps in wrong:
        with pytest.raises(ProofRefusedError):
            verify_consistency(old, was, new, now, steps)


def test_a_log_cut_at_its_tail_or_forked_is_refused() -> None:
    proof = consistency_proof(STORE.read, 5, 9)
    with pytest.raises(ProofRefusedError):
        verify_consistency(9, STORE.roots[9], 5, STORE.roots[5], proof)
    with pytest.raises(ProofRefusedError):
        verify_consistency(5, STORE.roots[5], 5, STORE.roots[6], ())
    with pytest.raises(ProofRefusedError):
        verify_consistency(5, STORE.roots[5], 5, STORE.roots[5], proof)


def test_growth_from_nothing_needs_the_empty_root_and_no_proof() -> None:
    verify_consistency(0, EMPTY_ROOT, 3, STORE.roots[3], ())
    verify_consistency(0, EMPTY_ROOT, 0, EMPTY_ROOT, ())
    with pytest.raises(ProofRefusedError):
        verify_consistency(0, STORE.roots[1], 3, STORE.roots[3], ())


def test_an_inner_node_does_not_pass_for_an_entry() -> None:
    left, right = leaves_of(2)
    assert leaf_hash(left + right) != node_hash(left, right) == STORE.roots[2]


def test_proofs_read_logarithmically_many_nodes() -> None:
    store = Nodes(1024 + 511)
    inclusion_proof(store.read, 700, 1024 + 511)
    consistency_proof(store.read, 1023, 1024 + 511)
    assert store.reads <= 4 * 11


@given(SIZES)
def test_a_frontier_is_one_hash_for_every_bit(size: int) -> None:
    frontier = Frontier()
    for leaf in leaves_of(size):
        frontier, _ = frontier.append(leaf)
    restored = Frontier(frontier.size, frontier.subtrees)
    assert len(frontier.subtrees) == size.bit_count()
    assert restored.append(leaf_hash(b"next")) == frontier.append(leaf_hash(b"next"))


@pytest.mark.parametrize(
    ("size", "subtrees"), [(-1, ()), (1, ()), (3, (bytes(32),)), (1, (b"short",)), (MAX_SIZE + 1, (bytes(32),))]
)
def test_a_frontier_whose_parts_do_not_fit_is_refused(size: int, subtrees: tuple[bytes, ...]) -> None:
    with pytest.raises(InputError):
        Frontier(size, subtrees)


def test_asking_for_an_impossible_proof_names_the_field() -> None:
    with pytest.raises(InputError, match="no leaf 3"):
        inclusion_proof(STORE.read, 3, 3)
    with pytest.raises(InputError) as caught:
        consistency_proof(STORE.read, 0, 3)
    assert caught.value.field == "old_size"
    with pytest.raises(InputError) as caught:
        Frontier().append(b"not a hash")
    assert caught.value.field == "leaf"
