"""How long a step waits before the other side is called or asked again.

Rules: pauses grow with the time since the call, so that a short hitch costs little and a long one is not hammered; a wait
that the other side wishes for is kept up to the longest pause. Where an outcome is in doubt people are at work already,
and the question is put more rarely.
"""

from datetime import timedelta
from typing import Final

from service.domain.errors import CallDeferredError

_SHORTEST: Final = timedelta(seconds=0.3)
_LONGEST: Final = timedelta(seconds=15)
_ASKED_AT_LEAST: Final = 100
"""How often an effect is asked for within its deadline; a long deadline is not spent on asking every 15 seconds."""
_SHORTEST_DOUBT: Final = timedelta(seconds=5)
_LONGEST_DOUBT: Final = timedelta(minutes=5)
_PUT_OFF: Final = timedelta(minutes=30)


def until_next(since: timedelta, deadline: timedelta, wanted_s: float | None = None) -> timedelta:
    """Return the pause before the next look, `since` the call; `wanted_s` as the other side asks for."""
    pause = timedelta(seconds=wanted_s) if wanted_s is not None else since / 4
    return min(max(pause, _SHORTEST), max(_LONGEST, deadline / _ASKED_AT_LEAST))


def in_doubt(since: timedelta) -> timedelta:
    """Return the pause before an unknown outcome is asked about again."""
    return min(max(since / 4, _SHORTEST_DOUBT), _LONGEST_DOUBT)


def past_deadline(error: Exception) -> timedelta:
    """Return how long after its deadline a step goes on asking in silence, when this keeps it from an answer.

    A call that we put off ourselves, because there would be too many, says nothing of the other side.
    """
    return _PUT_OFF if isinstance(error, CallDeferredError) else timedelta(0)


def of_attempts(left: int, deadline: timedelta) -> timedelta:
    """Return the pause after an attempt that did nothing: it doubles, and all of them together last for the deadline.

    `left` attempts, at least 1, include the one that was made.
    """
    return deadline / 2.0**left
