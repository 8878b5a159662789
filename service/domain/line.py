"""Whether a connection's platform answers at all, and how long it is left alone when it does not (circuit breaking).

Rules: one unanswered call makes a line troubled, and then one step at a time tries it, so that a dead platform keeps one
worker busy and not all of them. The pauses between tries double up to `LONGEST_PAUSE`. After `DEAD_AFTER` unanswered calls
people are paged, once an outage. Any answer, also a no, ends the trouble, and what waited is due at once. Nothing here says
whether a call had an effect: that is settled by asking (design D5).
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

DEAD_AFTER: Final = 3
"""Unanswered calls in a row after which people are told."""
FIRST_PAUSE: Final = timedelta(seconds=1)
LONGEST_PAUSE: Final = timedelta(seconds=15)
TRY: Final = timedelta(seconds=20)
"""How long whoever tries a troubled line has it to himself: longer than a call may take."""
MOST_AT_ONCE: Final = 2
"""Steps of one connection that are worked on at the same time: a containment worker has one child more, which is left
for other connections when a platform hangs for the first time."""
PAST_THE_LINE: Final = 1
"""How many more may be at once when the last is the first step of a new alert, worked on by the child that takes alerts and
nothing else: so a hold never stands behind the other steps of an earlier incident."""
AGAIN: Final = timedelta(seconds=0.5)
"""When a step that found the line full looks again."""


@dataclass(frozen=True, slots=True)
class Line:
    """One connection's outage: `failures` unanswered calls since `since`; nobody tries before `closed_until`."""

    failures: int
    since: datetime
    closed_until: datetime
    told: bool
    """Whether people were paged."""

    @property
    def is_dead(self) -> bool:
        """Whether people must know."""
        return self.failures >= DEAD_AFTER


def unanswered(before: Line | None, now: datetime) -> Line:
    """Return the line after one more call that got no answer."""
    failures = 1 if before is None else before.failures + 1
    pause = min(FIRST_PAUSE * 2 ** min(failures - 1, 10), LONGEST_PAUSE)
    return Line(failures, now if before is None else before.since, now + pause, told=before is not None and before.told)
