"""Numbers as words of an event, there and back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.errors import InputError
from service.domain.numbers import LARGEST, MOST, from_words, to_words

names = st.text("abcdefghijklmnopqrstuvwxyz_", min_size=1, max_size=32)


@given(st.dictionaries(names, st.integers(0, LARGEST), max_size=MOST))
def test_what_is_told_is_what_is_read(numbers: dict[str, int]) -> None:
    assert from_words(to_words(numbers)) == numbers


@given(st.text(max_size=60))
def test_anything_else_is_refused_or_read_as_it_stands(text: str) -> None:
    try:
        found = from_words(text)
    except InputError:
        return
    assert {word.partition("=")[0] for word in text.split()} == set(found)


@pytest.mark.parametrize(
    "wrong", ["a=1 a=2", "a=1  b=2", "a=-1", "A=1", "a=1000000", " ", " ".join(f"{c}=1" for c in "abcdefghi")]
)
def test_what_is_not_written_so_is_refused(wrong: str) -> None:
    with pytest.raises(InputError):
        from_words(wrong)


@pytest.mark.parametrize("wrong", [{"a b": 1}, {"a": -1}, {"a": LARGEST + 1}, dict.fromkeys("abcdefghi", 1)])
def test_what_could_not_be_read_is_not_written(wrong: dict[str, int]) -> None:
    with pytest.raises(InputError):
        to_words(wrong)
