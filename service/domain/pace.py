"""How fast one connection's platform is called, counted over every worker (GCRA: one moment says how full the bucket is).

Rules: what a step that tightens has to say goes first: it may use the whole burst and wait its turn for up to
`LONGEST_WAIT`; everything else has half the burst and does not wait, so it never stands before one that tightens. After a
429 nobody calls before the time that the platform named (RFC 9110, 10.2.3), at most `LONGEST_SLOW`. A call that gets no
turn was not made. Moments further ahead than these rules can bring about were written while a clock was wrong and count for
nothing. This spares the platform and is no security limit: losing it costs a burst.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Final

LONGEST_WAIT: Final = timedelta(seconds=2)
"""How long a call that tightens waits for its turn; beyond it the step is put off, and its worker does something else."""
LONGEST_SLOW: Final = timedelta(minutes=5)
"""How long a 429 is believed."""


@dataclass(frozen=True, slots=True)
class Limit:
    """`per_s` calls a second, of which a second's worth, at least one, may come at once."""

    per_s: float

    @property
    def interval(self) -> timedelta:
        """The time that one call takes up."""
        return timedelta(seconds=1 / self.per_s)

    @property
    def burst(self) -> timedelta:
        """How far ahead of its time a call may come."""
        return self.interval * (max(1, int(self.per_s)) - 1)


@dataclass(frozen=True, slots=True)
class Pace:
    """`used_until`: when everything called so far is used up at the limit's rate. `slow_until`: nobody calls before."""

    used_until: datetime
    slow_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn after `wait`, and the pace then; without a pace there is none, and `wait` says when to ask again."""

    wait: timedelta
    after: Pace | None


def turn(before: Pace | None, limit: Limit, now: datetime, *, urgent: bool) -> Turn:
    """Take or refuse one turn."""
    slow = _slow(before, now)
    if slow is not None:
        return Turn(slow - now, None)
    used = _used(before, limit, now)
    ahead = limit.burst if urgent else limit.burst / 2
    wait = max(used - ahead - now, timedelta())
    if wait > (LONGEST_WAIT if urgent else timedelta()):
        return Turn(wait, None)
    return Turn(wait, Pace(used + limit.interval))


def slowed(before: Pace | None, now: datetime, retry_after: timedelta) -> Pace:
    """Return the pace after a 429."""
    until = now + min(max(retry_after, timedelta()), LONGEST_SLOW)
    slow = _slow(before, now)
    return replace(before or Pace(now), slow_until=until if slow is None else max(slow, until))


def _slow(before: Pace | None, now: datetime) -> datetime | None:
    until = None if before is None else before.slow_until
    return until if until is not None and now < until <= now + LONGEST_SLOW else None


def _used(before: Pace | None, limit: Limit, now: datetime) -> datetime:
    furthest = now + limit.burst + LONGEST_WAIT + limit.interval
    return before.used_until if before is not None and now < before.used_until <= furthest else now
