"""What may be asked of a threshold, and what approvers read of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import threshold
from service.domain.errors import InputError
from service.domain.safe import MOST_OWNERS
from service.domain.threshold import Raise
from tests.unit.service.domain.test_safe import state

counts = st.integers(0, MOST_OWNERS + 2)


@given(counts, counts, counts)
def test_it_only_raises_and_never_beyond_the_owners(before: int, signatures: int, owners: int) -> None:
    told = {"before": before, "signatures": signatures, "owners": owners}
    if 1 <= before < signatures <= owners <= MOST_OWNERS:
        assert threshold.asked(told) == Raise(before, signatures, owners)
        return
    with pytest.raises(InputError):
        threshold.asked(told)


@pytest.mark.parametrize("wrong", [None, "", "-1", "1.0", "9999", "\u0663", True])
def test_what_is_no_number_names_its_field(wrong: object) -> None:
    with pytest.raises(InputError) as caught:
        threshold.asked({"before": 1, "signatures": wrong, "owners": 3})
    assert caught.value.field == "signatures"


def test_approvers_read_what_it_does_to_those_who_sign() -> None:
    assert "3 of its 5 owners must sign" in Raise(2, 3, 5).sentence
    assert "2 of them may be away" in Raise(2, 3, 5).sentence
    assert "none of them may be away" in Raise(2, 3, 3).sentence


def test_it_is_made_only_of_what_people_saw_or_where_nothing_is_left_to_do() -> None:
    owners = tuple("0x" + f"{n:02x}" * 20 for n in range(1, 6))
    wanted = Raise(2, 3, 5)
    assert wanted.differs(state(*owners, threshold=2)) is None
    for done in (3, 4):
        assert wanted.differs(state(*owners[:4], threshold=done)) is None
    assert "1 signatures of 5 owners now" in str(wanted.differs(state(*owners, threshold=1)))
    assert "2 signatures of 4 owners now" in str(wanted.differs(state(*owners[:4], threshold=2)))
