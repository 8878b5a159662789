"""When a step that is done on a chain is looked at again, until its block is final.

Rules: the first looks come quickly, because a short reorganisation is the likely one; pauses grow with the time since, up
to LONGEST. A look is a timer, unique by the claim that did the step and the time since, so that setting one twice is one.
"""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Final

from service.domain.plan import Step

LOOK: Final = "step.look:"
"""How the kinds of these timers begin: they are the key worker's, all others the escalation's."""
FIRST: Final = timedelta(seconds=10)
LONGEST: Final = timedelta(minutes=15)
GIVEN_UP: Final = timedelta(days=1)
"""A chain whose final block stands still for so long is in trouble of its own: people look."""


def next_look(
    done: Step, now: datetime, since: timedelta = timedelta(0)
) -> tuple[str, str, datetime, Mapping[str, str]]:
    """Return kind, subject, due time and payload of the timer for the look after one `since` the step was done."""
    pause = min(max(FIRST, since), LONGEST)
    since_s = str(int((since + pause).total_seconds()))
    told = {"incident": done.incident_id, "fence": str(done.fence), "since_s": since_s}
    return f"{LOOK}{done.fence}:{since_s}", done.id, now + pause, told


def not_final_note(done: Step) -> str:
    """Return the key under which it is noted that this doing of a step is not final after `GIVEN_UP`: workers alone note."""
    return f"step.not_final:{done.id}:{done.fence}"
