"""SLIP-39 shares: vectors of the standard, every threshold, and shares that do not belong together."""

import itertools
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hsm.errors import HsmInputError
from hsm.shares import ShareScheme, check_share, restore_seed, split_seed

ALONE = (
    "duckling enlarge academic academic agency result length solution fridge kidney coal piece deal husband erode duke "
    "ajar critical decision keyboard"
)
PAIR = (
    (
        "humidity disease academic always aluminum jewelry energy woman receiver strategy amuse duckling lying evidence "
        "network walnut tactics forget hairy rebound impulse brother survive clothes stadium mailman rival ocean reward "
        "venture always armed unwrap"
    ),
    (
        "humidity disease academic agency actress jacket gross physics cylinder solution fake mortgage benefit public busy "
        "prepare sharp friar change work slow purchase ruler again tricycle involve viral wireless mixture anatomy desert "
        "cargo upgrade"
    ),
)


def test_shares_made_elsewhere_are_read() -> None:
    """The standard's vectors for one share of 128 bits and for two of 256 bits."""
    assert [check_share(text, 1) for text in (ALONE, *PAIR)] == [1, 2, 2]
    assert restore_seed([ALONE], "TREZOR").hex() == "bb54aac4b89dc868ba37d9cc21b2cece"
    assert restore_seed(PAIR, "TREZOR").hex() == "c938b319067687e990e05e0da0ecce1278f75ff58d9853f19dcaeed5de104aae"
    assert restore_seed(PAIR) != restore_seed(PAIR, "TREZOR")
    for passphrase in ("\u00e9", "x" * 257):
        with pytest.raises(HsmInputError, match="passphrase"):
            restore_seed(PAIR, passphrase)


@settings(max_examples=8, deadline=None)
@given(st.binary(min_size=8, max_size=32), st.integers(2, 4), st.integers(0, 2))
def test_every_threshold_restores_and_one_less_does_not(half: bytes, threshold: int, more: int) -> None:
    seed = half * 2
    shares = split_seed(seed, ShareScheme(threshold, threshold + more))
    assert restore_seed(shares.texts[more:]) == seed
    with pytest.raises(HsmInputError, match="too few or too many"):
        restore_seed(shares.texts[: threshold - 1])
    assert not any(text in repr(shares) for text in shares.texts)


def test_any_choice_of_holders_restores() -> None:
    seed = os.urandom(32)
    texts = split_seed(seed, ShareScheme(2, 3)).texts
    assert all(restore_seed(chosen) == seed for chosen in itertools.permutations(texts, 2))


def test_mixed_doubled_and_mistyped_shares_are_refused_without_their_words() -> None:
    one, other = (split_seed(os.urandom(16), ShareScheme(2, 2)).texts for _ in range(2))
    mistyped = one[1].rsplit(" ", 1)[0] + " academic"
    for texts, said in (
        ((one[0], other[0]), "not of one set"),
        ((one[0], one[0]), "too few"),
        ((one[0], mistyped), "share 2 is mistyped"),
        ((one[0], ""), "share 2 is empty"),
        ((one[0], "x" * 2000), "share 2 is empty or longer"),
    ):
        with pytest.raises(HsmInputError, match=said) as refused:
            restore_seed(texts)
        words = one[0].split()  # three in a row, because a word alone, such as "type", may be in what we say
        assert not any(" ".join(words[at : at + 3]) in str(refused.value) for at in range(len(words) - 2))


@pytest.mark.parametrize(("threshold", "count"), [(1, 3), (4, 3), (2, 17), (1, 1), (0, 2)])
def test_a_scheme_out_of_bounds_is_refused(threshold: int, count: int) -> None:
    with pytest.raises(HsmInputError):
        ShareScheme(threshold, count)


@pytest.mark.parametrize("size", [14, 17, 66])
def test_a_seed_that_cannot_be_split_is_refused(size: int) -> None:
    with pytest.raises(HsmInputError, match="even"):
        split_seed(bytes(size), ShareScheme(2, 3))
