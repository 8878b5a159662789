"""The job of the `containment` queue: one step of a plan at a custody platform.

A step that found the platform's line full is begun by whoever makes room on it: the sweeper would find it a second later.
"""

from typing import Final

from service.domain.ids import StepId
from service.flow import contain
from service.flow.contain import Hands
from workers.jobs import Jobs

MOST_IN_A_ROW: Final = 3
"""Steps that one job works on: their time limit is one job's together, and other queues wait."""


def jobs(hands: Hands) -> Jobs:
    """Return the functions behind the names."""
    return {"contain.step": lambda p: go_on(hands, contain.step(hands, StepId(p["step_id"])))}


def go_on(hands: Hands, crowded_out: StepId | None) -> None:
    """After one step, work on those that it made room for."""
    for _ in range(MOST_IN_A_ROW - 1):
        if crowded_out is not None:
            crowded_out = contain.step(hands, crowded_out)
