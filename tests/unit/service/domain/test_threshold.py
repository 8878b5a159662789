"""What may be asked of a threshold, and what approvers read of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain import threshold
from service.domain.errors import InputError
from service.domain.safe import MOST_OWNERS
from service.domain.threshold import Lower, Raise
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
    assert Raise(2, 3, 5).sentence.startswith("where the chain says that it asks for 2 of 5 now, and nowhere else, ")


@pytest.mark.parametrize(
    "wrong", [{}, None, [], {"x": 2}, {"x": {"signatures": 2}}, {"x": {"signatures": 2, "before": 2}}]
)
def test_what_is_lowered_says_from_what_and_to_what(wrong: object) -> None:
    with pytest.raises(InputError):
        threshold.lowers({"safes": wrong})
    assert threshold.lowers({"safes": {"x": {"signatures": 3, "before": 1}}}) == {"x": Lower(3, 1)}


def test_it_is_made_only_of_what_people_saw() -> None:
    owners = tuple("0x" + f"{n:02x}" * 20 for n in range(1, 6))
    wanted = Raise(2, 3, 5)
    assert wanted.differs(state(*owners, threshold=2)) is None
    for other in (3, 4):
        assert f"{other} signatures of 5 owners now" in str(wanted.differs(state(*owners, threshold=other)))
    assert "1 signatures of 5 owners now" in str(wanted.differs(state(*owners, threshold=1)))
    assert "2 signatures of 4 owners now" in str(wanted.differs(state(*owners[:4], threshold=2)))
