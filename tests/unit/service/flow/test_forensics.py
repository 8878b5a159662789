"""What a vote was on stands in the evidence, however long its document is."""

from datetime import UTC, datetime

from service.domain.review import Decision
from service.flow.forensics import _ABOUT, _about


def test_a_vote_is_told_with_the_request_that_it_was_on() -> None:
    vote = Decision("apr_1", "Ada", "approve", datetime.now(UTC), ("Resume hot-1.", "Unlock 0x20."))
    assert _about(vote) == "apr_1: Resume hot-1. Unlock 0x20."


def test_what_a_vote_was_on_is_bounded() -> None:
    vote = Decision("apr_1", "Ada", "approve", datetime.now(UTC), ("x" * 10_000,))
    assert len(_about(vote)) == _ABOUT
