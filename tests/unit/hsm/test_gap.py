"""The gap-limit scan: finds what was used up to the gap, is bounded, and never takes a lost answer for unused."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm.derivation import ExtendedKey
from hsm.errors import HsmInputError, TokenUnavailableError
from hsm.gap import GAP_LIMIT, used_leaves
from hsm.keypath import DerivationPath

ACCOUNT = ExtendedKey.from_seed(bytes(range(16))).derive(DerivationPath.account(84, 0, 0)).neutered()
KEYS = {
    (change, index): ACCOUNT.derive(DerivationPath().leaf(change, index)).public_key
    for change in (0, 1)
    for index in range(60)
}


def walk(used: set[tuple[int, int]], gap: int = GAP_LIMIT, most: int = 1000) -> list[tuple[int, int]]:
    keys = {KEYS[place] for place in used}
    found = used_leaves(ACCOUNT, keys.__contains__, gap=gap, most=most)
    assert all(ACCOUNT.derive(leaf.below).public_key == leaf.public_key for leaf in found)
    return [(leaf.below.levels[0].index, leaf.below.levels[1].index) for leaf in found]


def test_a_fresh_account_has_none() -> None:
    assert walk(set()) == []


def test_the_last_address_within_the_gap_is_found_and_the_first_beyond_is_not() -> None:
    assert walk({(0, 0), (0, 20)}) == [(0, 0), (0, 20)]
    assert walk({(0, 0), (0, 21)}) == [(0, 0)]
    assert walk({(1, 19)}) == [(1, 19)]
    assert walk({(1, 20)}) == []


@settings(max_examples=15, deadline=None)
@given(st.sets(st.tuples(st.sampled_from([0, 1]), st.integers(0, 30)), max_size=12), st.integers(1, 8))
def test_what_is_found_is_what_the_rule_says(used: set[tuple[int, int]], gap: int) -> None:
    expected = []
    for change in (0, 1):
        reach = gap
        for index in range(60):
            if index < reach and (change, index) in used:
                expected.append((change, index))
                reach = index + 1 + gap
    assert walk(used, gap) == expected


def test_a_chain_that_calls_everything_used_ends_the_scan() -> None:
    asked: list[bytes] = []

    def always(key: bytes) -> bool:
        asked.append(key)
        return True

    with pytest.raises(HsmInputError, match="more than 7"):
        used_leaves(ACCOUNT, always, most=7)
    assert len(asked) == 7


def test_a_lost_answer_goes_through() -> None:
    def lost(_: bytes) -> bool:
        raise TokenUnavailableError("the chain did not answer")

    with pytest.raises(TokenUnavailableError):
        used_leaves(ACCOUNT, lost)


@pytest.mark.parametrize("gap", [0, 1001])
def test_the_gap_is_bounded(gap: int) -> None:
    with pytest.raises(HsmInputError, match="gap limit"):
        used_leaves(ACCOUNT, lambda _: False, gap=gap)
