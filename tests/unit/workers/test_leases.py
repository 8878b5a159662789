"""A lease is renewed while its work goes on, and by nobody afterwards."""

import threading
from typing import Any, cast

import pytest

from service.domain.ids import StepId
from service.ports.store.unit import Database
from workers import leases


class TimeLimitError(Exception):
    """What the job's time limit raises, wherever it is."""


class Turn:
    """A lock whose second taker is cut short while it waits."""

    def __init__(self) -> None:
        self.taken = 0

    def __enter__(self) -> None:
        self.taken += 1
        if self.taken > 1:
            raise TimeLimitError

    def __exit__(self, *_: object) -> None:
        pass


def test_a_lease_that_is_let_go_of_is_renewed_no_more_however_the_work_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threading.Thread, "start", lambda _: None)
    keep = leases.keeper(cast("Database", None))
    keeper = cast("Any", keep).__self__
    keeper._turn = Turn()
    with pytest.raises(TimeLimitError), keep(StepId("stp_1"), 1):
        assert keeper._held
    assert not keeper._held
