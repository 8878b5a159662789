"""Doing one thing at every place of an account, chain by chain: what fails at one place keeps it from no other.

Rules: every chain has its share of the time; a chain that used up its own is left for the next attempt, because a further
transaction there would only outbid the one that waits; the error told at the end is the one after which the step is tried
again, where there is one.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from service.domain.errors import PortcullisError, RefusedByOtherSideError, RetryKind, UnavailableError
from service.domain.plan import Verdict

MOST_TOLD: Final = 20
"""Different errors that the one for all tells in full."""
P = TypeVar("P")
R = TypeVar("R")


@dataclass(slots=True)
class Outcome(Generic[R]):
    """What came of it."""

    results: list[R] = field(default_factory=list)
    errors: list[PortcullisError] = field(default_factory=list)


def everywhere(places: Sequence[tuple[str, P]], do: Callable[[str, P, float], R], patience_s: float) -> Outcome[R]:
    """Call `do` with each chain, place and the time on the monotonic clock when waiting there ends; collect its errors."""
    found: Outcome[R] = Outcome()
    chains = list(dict.fromkeys(chain for chain, _ in places))
    ends = time.monotonic() + patience_s
    for number, chain in enumerate(chains):
        now = time.monotonic()
        until = now + max(0.0, ends - now) / (len(chains) - number)
        _on_one(chain, [place for at, place in places if at == chain], do, until, found)
    return found


def _on_one(chain: str, places: Sequence[P], do: Callable[[str, P, float], R], until: float, found: Outcome[R]) -> None:
    for number, place in enumerate(places, start=1):
        try:
            found.results.append(do(chain, place, until))
        except PortcullisError as error:
            found.errors.append(error)
            if error.retry is not RetryKind.NEVER and time.monotonic() >= until and number < len(places):
                left = len(places) - number
                found.errors.append(UnavailableError(f"{chain} took too long: {left} more there are left for later"))
                return


def require(outcome: Outcome[R]) -> list[R]:
    """Return all results. Raises one error for all that failed, of the kind that is tried again where there is one."""
    errors = outcome.errors
    if not errors:
        return outcome.results
    first = min(errors, key=_order)
    if len(errors) == 1:
        raise first
    told = list(dict.fromkeys(str(error) for error in sorted(errors, key=_order)))
    if len(told) > MOST_TOLD:
        told[MOST_TOLD:] = [f"and {len(told) - MOST_TOLD} others"]
    raise type(first)("; ".join(told), field=first.field, retry_after_s=first.retry_after_s) from first


def all_hold(answers: Outcome[bool]) -> Verdict:
    """Return the answer for all: one place that is known not to hold is enough, one that cannot be asked is a doubt."""
    if not all(answers.results):
        return Verdict.DOES_NOT_HOLD
    return Verdict.CANNOT_TELL if answers.errors else Verdict.HOLDS


def _order(error: PortcullisError) -> int:
    if error.retry is not RetryKind.NEVER:
        return 0 if error.retry is RetryKind.LATER else 1
    return 2 if isinstance(error, RefusedByOtherSideError) else 3
