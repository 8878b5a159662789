import pytest
from hypothesis import given
from hypothesis import strategies as st

from hsm.errors import DerivationError
from hsm.keypath import MAX_LEVELS, DerivationPath, PathLevel

LEVELS = st.builds(PathLevel, st.integers(0, 2**31 - 1), st.booleans())
PATHS = st.builds(DerivationPath, st.lists(LEVELS, max_size=MAX_LEVELS).map(tuple))


@given(PATHS)
def test_what_is_written_reads_back(path: DerivationPath) -> None:
    assert DerivationPath.parse(str(path)) == path


@pytest.mark.parametrize("text", ["m/84'/0h/0H/0/5", "m/84h/0h/0h/0/5"])
def test_all_three_marks_of_hardening_are_read(text: str) -> None:
    assert str(DerivationPath.parse(text)) == "m/84h/0h/0h/0/5"


@pytest.mark.parametrize(
    "text", ["", "m/", "/0", "0/1", "m//1", "m/-1", "m/01", "m/1x", "m/2147483648", "m/ 1", "M/1", "m/1hh", "m/٣"]
)
def test_malformed_paths_are_refused(text: str) -> None:
    with pytest.raises(DerivationError) as refused:
        DerivationPath.parse(text)
    assert refused.value.field == "path"


def test_a_path_has_at_most_ten_levels() -> None:
    assert len(DerivationPath.parse("m" + "/0" * MAX_LEVELS).levels) == MAX_LEVELS
    with pytest.raises(DerivationError):
        DerivationPath.parse("m" + "/0" * (MAX_LEVELS + 1))
    with pytest.raises(DerivationError):
        DerivationPath.parse("m" + "/0" * 10_000)


def test_wire_index_adds_two_to_the_31() -> None:
    assert [level.wire for level in DerivationPath.parse("m/1h/1").levels] == [2**31 + 1, 1]


def test_the_next_account_is_the_hardened_sibling() -> None:
    assert str(DerivationPath.account(84, 0, 4).next_account()) == "m/84h/0h/5h"
    for other in ("m/84h/0h", "m/84h/0h/0", "m/84h/0h/0h/0"):
        with pytest.raises(DerivationError):
            DerivationPath.parse(other).next_account()


def test_the_master_key_has_no_parent() -> None:
    with pytest.raises(DerivationError):
        _ = DerivationPath().parent
