"""Canonical bytes, tagged digests and salted commitments."""

import hashlib
import json
from enum import StrEnum

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from service.domain.canonical import (
    MAX_BYTES,
    MAX_DEPTH,
    SALT_BYTES,
    canonical,
    commit,
    digest,
    new_salt,
    opens,
)
from service.domain.errors import InputError

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


def test_members_are_sorted_by_utf16_code_units() -> None:
    """RFC 8785 3.2.3's own example: the emoji sorts before U+FB33 because its first code unit is a surrogate."""
    names = ["\u20ac", "\r", "\ufb33", "1", "\U0001f600", "\u0080", "\u00f6"]
    expected = ["\r", "1", "\u0080", "\u00f6", "\u20ac", "\U0001f600", "\ufb33"]
    assert list(json.loads(canonical(dict.fromkeys(names, "")))) == expected


def test_strings_are_escaped_as_the_standard_says() -> None:
    assert canonical({"b": '\u20ac$\u000f\nA\'B"\\\\"/', "a": [1, None, True, False]}) == (
        b'{"a":[1,null,true,false],"b":"\xe2\x82\xac$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


@given(JSON)
def test_it_is_what_the_reference_library_writes(document: object) -> None:
    assert canonical(document) == rfc8785.dumps(document)  # type: ignore[arg-type]  # the strategy makes JSON only


@given(JSON)
def test_it_reads_back_and_writing_again_changes_nothing(document: object) -> None:
    encoded = canonical(document)
    assert json.loads(encoded) == document
    assert canonical(json.loads(encoded)) == encoded


@given(st.dictionaries(st.text(), JSON, max_size=6))
def test_the_order_of_members_does_not_matter(document: dict[str, object]) -> None:
    assert canonical(dict(reversed(document.items()))) == canonical(document)


class Colour(StrEnum):
    RED = "red"


@pytest.mark.parametrize(
    ("document", "place"),
    [
        (0.5, "$"),
        ({"steps": [{"amount": 1.0}]}, "$.steps[0].amount"),
        ({"a": (1, float("nan"))}, "$.a[1]"),
        ({"wei": 2**53}, "$.wei"),
        ({"wei": -(2**53)}, "$.wei"),
        ({"a": "\ud800"}, "$.a"),
        ({"\udfff": 1}, "$"),
        ({1: 2}, "$"),
        ({"a": b"bytes"}, "$.a"),
        ({"a": {1, 2}}, "$.a"),
        ({"a": object()}, "$.a"),
    ],
)
def test_what_two_readers_may_take_differently_is_refused_by_place(document: object, place: str) -> None:
    with pytest.raises(InputError) as caught:
        canonical(document)
    assert caught.value.field == place


def test_depth_and_size_are_bounded() -> None:
    nested: object = 1
    for _ in range(MAX_DEPTH):
        nested = [nested]
    assert canonical(nested) == b"[" * MAX_DEPTH + b"1" + b"]" * MAX_DEPTH
    with pytest.raises(InputError, match="nested deeper"):
        canonical([nested])
    assert len(canonical("x" * (MAX_BYTES - 2))) == MAX_BYTES
    with pytest.raises(InputError, match="at most"):
        canonical("x" * (MAX_BYTES - 1))


def test_the_largest_integers_and_text_enumerations_pass() -> None:
    assert canonical([2**53 - 1, -(2**53) + 1, Colour.RED]) == b'[9007199254740991,-9007199254740991,"red"]'


def test_a_digest_is_the_hash_of_tag_zero_and_bytes() -> None:
    expected = hashlib.sha256(b'portcullis/approval/v1\x00{"a":"1","b":2}').hexdigest()
    assert digest("portcullis/approval/v1", {"b": 2, "a": "1"}) == expected


def test_the_same_document_under_another_tag_has_another_digest() -> None:
    assert digest("portcullis/approval/v1", {}) != digest("portcullis/plan/v1", {})


@pytest.mark.parametrize("tag", ["", "a b", "a\x00b", "é", "x" * 65, "line\n"])
def test_a_tag_that_could_run_into_the_document_is_refused(tag: str) -> None:
    with pytest.raises(InputError) as caught:
        digest(tag, {})
    assert caught.value.field == "tag"


@given(st.text(), st.text(), st.binary(min_size=SALT_BYTES, max_size=SALT_BYTES))
def test_a_commitment_opens_with_its_value_and_salt_only(value: str, other: str, salt: bytes) -> None:
    commitment = commit(value, salt)
    assert opens(commitment, value, salt)
    assert opens(commitment, other, salt) == (other == value)
    assert not opens(commitment, value, bytes(byte ^ 1 for byte in salt))
    assert not opens("\ud800", value, salt)


def test_a_commitment_is_tagged_and_salted() -> None:
    salt = bytes(range(SALT_BYTES))
    assert commit("é", salt) == hashlib.sha256(b"portcullis/commitment/v1\x00" + salt + b"\xc3\xa9").hexdigest()


@pytest.mark.parametrize("salt", [b"", bytes(31), bytes(33)])
def test_a_salt_of_another_length_is_refused(salt: bytes) -> None:
    with pytest.raises(InputError) as caught:
        commit("value", salt)
    assert caught.value.field == "salt"


def test_salts_are_fresh() -> None:
    assert len({new_salt() for _ in range(100)}) == 100
