"""The job of the `containment` queue: one step of a plan at a custody platform."""

from service.domain.ids import StepId
from service.flow import contain
from service.flow.contain import Hands
from workers.jobs import Jobs


def jobs(hands: Hands) -> Jobs:
    """Return the functions behind the names."""
    return {"contain.step": lambda p: contain.step(hands, StepId(p["step_id"]))}
