"""Papers, what they are bound to, and how they travel."""

import pytest

from service.domain.ballot import (
    BALLOT_TAG,
    FIRST_CODE_TAG,
    PAPER_BYTES,
    BallotPaper,
    FirstCode,
    associated_data,
    filled,
    from_text,
    read_paper,
    to_text,
)
from service.domain.errors import InputError

PAPER = BallotPaper(check_code="K7QD2MXA", code="123456", decision="approve")


def test_the_associated_data_are_the_documented_bytes() -> None:
    assert associated_data(BALLOT_TAG, "per_1", "ab" * 32) == b"portcullis/ballot/v1\0" + b"ab" * 32 + b"\0per_1"
    assert associated_data(FIRST_CODE_TAG, "per_1") == b"portcullis/first-code/v1\0\0per_1"


def test_every_difference_is_another_binding() -> None:
    told = {
        associated_data(tag, person, subject)
        for tag in (BALLOT_TAG, FIRST_CODE_TAG)
        for person in ("per_1", "per_2", "")
        for subject in ("ab" * 32, "cd" * 32, "")
    }
    assert len(told) == 2 * 3 * 3


def test_all_papers_have_one_length_and_are_read_back() -> None:
    denial = BallotPaper(check_code="k7qd-2mxa", code="1", decision="deny")
    assert len(filled(PAPER)) == len(filled(denial)) == len(filled(FirstCode(code="123456"))) == PAPER_BYTES
    assert read_paper(filled(denial), BallotPaper) == denial
    assert read_paper(filled(FirstCode(code="123456")), FirstCode).code == "123456"


@pytest.mark.parametrize(
    "plain",
    [
        b"",
        b"\xff",
        b"[]",
        b'{"check_code":"A","code":"1"}',
        b'{"check_code":"A","code":"1","decision":"abstain"}',
        b'{"check_code":"A","code":"1","decision":"deny","more":1}',
        b'{"check_code":"A","code":"111111111111111111111","decision":"deny"}',
    ],
)
def test_what_is_no_paper_is_refused_without_being_quoted(plain: bytes) -> None:
    with pytest.raises(InputError) as refused:
        read_paper(plain, BallotPaper)
    assert "abstain" not in str(refused.value)
    assert refused.value.__cause__ is None


def test_a_paper_shows_nothing_of_itself() -> None:
    assert repr(PAPER) == "BallotPaper(…)"


def test_a_paper_that_would_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="at most 20"):
        FirstCode(code="1" * 21)
    with pytest.raises(InputError, match="longer"):
        filled(BallotPaper(check_code="\x00" * 20, code="\x00" * 20, decision="approve"))


@pytest.mark.parametrize("size", [1, 2, 3, 546])
def test_an_envelope_travels_as_text(size: int) -> None:
    envelope = bytes(range(256)) * 3
    assert from_text(to_text(envelope[:size])) == envelope[:size]


@pytest.mark.parametrize("text", ["", "A", "AAAA=", "AA+A", "AA/A", "ä", "A" * 2049, "AAAA\n"])
def test_what_is_no_text_of_an_envelope_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        from_text(text)
