"""One request that the store refuses stops neither intake nor the other requests."""

import pytest

from service.domain.intake import LearningRequest
from service.flow.intake.suspects import Suspects


def request(number: int) -> LearningRequest:
    return LearningRequest(number, "verdict", "s", b"")


class Desk:
    """Batches of one item; some requests cannot be stored, alone or beside another, and some items cannot."""

    def __init__(self, broken: set[int], apart: tuple[int, int] | None = None) -> None:
        self.suspects = Suspects()
        self.waiting = [request(number) for number in range(1, 6)]
        self.placed: list[int] = []
        self.refused: list[int] = []
        self._broken = broken
        self._apart = set(apart or ())

    def batch(self, *, poisoned: bool = False) -> bool:
        """One item, tried as often as it is worth; whether it was stored."""
        while True:
            taken = self.suspects.admitted(self.waiting)
            asked = [one.id for one in taken if not self.suspects.broken(one)]
            together = bool(self._apart) and self._apart <= set(asked)
            if poisoned or together or self._broken & set(asked):
                if not self.suspects.failed(alone=True):
                    return False
                continue
            self.suspects.committed()
            self.placed += asked
            self.refused += [one.id for one in taken if self.suspects.broken(one)]
            self.waiting = [one for one in self.waiting if one.id not in {*self.placed, *self.refused}]
            return True


def test_all_are_taken_at_once_as_a_rule() -> None:
    desk = Desk(set())
    assert desk.batch()
    assert desk.placed == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("broken", [{1}, {3}, {5}, {2, 3}, {1, 2, 3, 4, 5}])
def test_those_that_cannot_be_stored_are_refused_and_no_item_with_them(broken: set[int]) -> None:
    desk = Desk(broken)
    for _ in range(22):
        assert desk.batch()
    assert (set(desk.refused), desk.waiting) == (broken, [])
    assert desk.placed == [number for number in range(1, 6) if number not in broken]
    desk.waiting = [request(6), request(7)]
    assert desk.batch()
    assert desk.placed[-2:] == [6, 7], "all at once again"


def test_two_that_cannot_be_stored_together_are_stored_one_after_the_other() -> None:
    desk = Desk(set(), apart=(2, 4))
    for _ in range(5):
        assert desk.batch()
    assert (desk.placed, desk.refused) == ([1, 2, 3, 4, 5], [])


def test_an_item_that_fails_by_itself_costs_no_request() -> None:
    desk = Desk(set())
    assert not desk.batch(poisoned=True)
    for _ in range(6):
        assert desk.batch()
    assert (desk.placed, desk.refused) == ([1, 2, 3, 4, 5], [])


def test_what_failed_once_is_not_refused() -> None:
    desk = Desk({2})
    assert desk.batch(), "1 is placed, or all of them tried"
    assert desk.batch(), "without 2"
    assert desk.refused == []
    assert desk.suspects.left_out
    desk._broken = set()
    for _ in range(5):
        assert desk.batch()
    assert (desk.placed, desk.refused, desk.suspects.left_out) == ([1, 2, 3, 4, 5], [], False)


def test_a_database_that_goes_away_meanwhile_makes_nobody_guilty() -> None:
    suspects, waiting = Suspects(), [request(1)]
    assert len(suspects.admitted(waiting)) == 1
    assert suspects.failed(alone=True)
    assert suspects.admitted(waiting) == []
    suspects.given_up()
    assert [one.id for one in suspects.admitted(waiting)] == [1]
    suspects.committed()
    assert not suspects.broken(waiting[0])


def test_of_a_batch_of_many_items_none_is_tried_again_as_it_was() -> None:
    suspects = Suspects()
    suspects.admitted([request(1), request(2)])
    assert not suspects.failed(alone=False)
    assert len(suspects.admitted([request(1), request(2)])) == 1
