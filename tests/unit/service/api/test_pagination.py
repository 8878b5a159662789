"""Cursors hold an id and nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.pagination import decode, encode
from service.domain.errors import InputError


@given(st.text("ABCxyz019_.-", min_size=1, max_size=64))
def test_a_cursor_comes_back_as_the_id_it_was_made_of(text: str) -> None:
    assert decode(encode(text)) == text


@pytest.mark.parametrize("wrong", ["", "!", "AAAA", "é", "====", "Y", "YWI=\n", "gICA"])
def test_what_is_no_cursor_is_refused(wrong: str) -> None:
    with pytest.raises(InputError) as refused:
        decode(wrong)
    assert refused.value.field == "cursor"


def test_no_cursor_is_the_first_page() -> None:
    assert (encode(None), decode(None)) == (None, None)
