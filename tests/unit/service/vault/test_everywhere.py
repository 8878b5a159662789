"""One thing at every place: nothing keeps the others from it, and what is told at the end can be tried again."""

import pytest

from service.domain.errors import (
    MissingCapabilityError,
    PortcullisError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.plan import Verdict
from service.vault.everywhere import MOST_TOLD, Outcome, all_hold, everywhere, require

A, B = "eip155:1", "eip155:10"


def attempt(failing: dict[str, PortcullisError], *, patience_s: float = 60) -> Outcome[str]:
    def do(chain: str, place: str, until: float) -> str:
        assert chain in {A, B}
        assert until > 0
        if place in failing:
            raise failing[place]
        return place

    return everywhere([(A, "a1"), (B, "b1"), (A, "a2")], do, patience_s)


def test_every_place_is_tried_and_all_errors_are_told() -> None:
    outcome = attempt({"a1": RefusedByOtherSideError("a1 says no"), "b1": MissingCapabilityError("b1 cannot")})
    assert outcome.results == ["a2"]
    with pytest.raises(RefusedByOtherSideError, match="a1 says no; b1 cannot"):
        require(outcome)


@pytest.mark.parametrize("again", [UnavailableError("away"), UnknownOutcomeError("away")])
def test_what_can_be_tried_again_comes_before_what_ends_the_step(again: PortcullisError) -> None:
    with pytest.raises(type(again), match="away; no"):
        require(attempt({"a1": RefusedByOtherSideError("no"), "a2": again}))


def test_a_chain_whose_time_is_over_is_left_and_the_next_is_tried() -> None:
    outcome = attempt({"a1": UnavailableError("slow")}, patience_s=0)
    assert outcome.results == ["b1"]
    with pytest.raises(UnavailableError, match=f"slow; {A} took too long: 1 more there"):
        require(outcome)


def test_one_error_is_raised_as_it_is_and_none_is_no_error() -> None:
    only = UnavailableError("away")
    with pytest.raises(UnavailableError) as raised:
        require(attempt({"b1": only}))
    assert raised.value is only
    assert require(attempt({})) == ["a1", "a2", "b1"]


def test_of_very_many_errors_some_are_told_and_the_others_counted() -> None:
    errors: list[PortcullisError] = [UnavailableError(f"place {number} is away") for number in range(MOST_TOLD + 3)]
    with pytest.raises(UnavailableError, match=f"place {MOST_TOLD - 1} is away; and 3 others$"):
        require(Outcome([], errors))


@pytest.mark.parametrize(
    ("told", "failed", "verdict"),
    [
        ([True], 0, Verdict.HOLDS),
        ([True], 1, Verdict.CANNOT_TELL),
        ([True, False], 1, Verdict.DOES_NOT_HOLD),
        ([], 1, Verdict.CANNOT_TELL),
    ],
)
def test_one_known_no_is_enough_and_one_doubt_is_no_yes(told: list[bool], failed: int, verdict: Verdict) -> None:
    assert all_hold(Outcome(told, [UnavailableError("away")] * failed)) is verdict
