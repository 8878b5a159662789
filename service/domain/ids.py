"""Identifiers: a three-letter kind, an underscore and a ULID (48-bit millisecond time, 80 random bits, Crockford base32).

They sort by creation time, are unguessable enough to be harmless in logs, and never authorise anything. Those of one
process and one kind also sort by creation within a millisecond (RFC 9562 section 6.2, method 2): the first of a
millisecond is random below 2^79, each further one is larger by a random step of up to 2^64. 32,768 fit into a
millisecond at the least, more than a process can make. Those of several processes are in no order within a millisecond,
and a clock that is set back takes the order with it; `id_after` is for where the order counts.
"""

import os
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final, NewType

from service.domain.randomness import Pieces

ConnectionId = NewType("ConnectionId", str)
AccountId = NewType("AccountId", str)
ActivityId = NewType("ActivityId", str)
AlertId = NewType("AlertId", str)
IncidentId = NewType("IncidentId", str)
PlanId = NewType("PlanId", str)
StepId = NewType("StepId", str)
ApprovalId = NewType("ApprovalId", str)
PersonId = NewType("PersonId", str)
MessageId = NewType("MessageId", str)

_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_ULID_LENGTH: Final = 26
_RANDOM_DIGITS: Final = 16
_PAIRS: Final = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
"""What ten bits are written as."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class _Counter:
    """What the last identifier of this process was made of."""

    def __init__(self) -> None:
        self._random = Pieces(10)
        self._milliseconds, self._digits, self._number = -1, "", 0
        self._lock = Lock()
        # A process forks while no other thread holds the lock, so that it is free in the child.
        release = self._lock.release
        os.register_at_fork(before=self._lock.acquire, after_in_parent=release, after_in_child=release)

    def next(self) -> tuple[str, int]:
        """Return the digits of the time and 80 bits, above those of the same millisecond before."""
        drawn = int.from_bytes(self._random.take())
        with self._lock:
            milliseconds = time.time_ns() // 1_000_000
            if milliseconds == self._milliseconds:
                self._number += (drawn >> 16) + 1
            else:
                self._milliseconds, self._digits, self._number = milliseconds, _moment(milliseconds), drawn >> 1
            return self._digits, self._number


_COUNTER: Final = _Counter()


def new_id(kind: str) -> str:
    """Return a fresh identifier such as `inc_01JD…`; `kind` is three lower-case letters."""
    moment, number = _COUNTER.next()
    p = _PAIRS
    return (
        f"{kind}_{moment}{p[number >> 70]}{p[number >> 60 & 1023]}{p[number >> 50 & 1023]}{p[number >> 40 & 1023]}"
        f"{p[number >> 30 & 1023]}{p[number >> 20 & 1023]}{p[number >> 10 & 1023]}{p[number & 1023]}"
    )


def id_after(kind: str, others: Iterable[str]) -> str:
    """Return a fresh identifier that sorts after these of its kind, whatever the clocks of those who made them said.

    Where the clock does not do it, it is the last of them and a random step of up to 2^64. Raises ValueError when that
    last one is no identifier.
    """
    made, last = new_id(kind), max(others, default="")
    if made > last:
        return made
    number = int.from_bytes(os.urandom(8)) + 1
    for place, digit in enumerate(reversed(last.removeprefix(f"{kind}_"))):
        number += _ALPHABET.index(digit) << 5 * place
    return f"{kind}_" + "".join(_ALPHABET[number >> 5 * place & 31] for place in reversed(range(_ULID_LENGTH)))


def first_id_at(kind: str, moment: datetime) -> str:
    """Return the lowest identifier of a kind that may be made at `moment`, for looking up a span of time.

    A moment before 1970 counts as 1970, one beyond the year 10889 as the last that fits.
    """
    milliseconds = (moment - _EPOCH) // timedelta(milliseconds=1)
    return f"{kind}_{_moment(max(0, min(milliseconds, (1 << 48) - 1)))}{_ALPHABET[0] * _RANDOM_DIGITS}"


def _moment(milliseconds: int) -> str:
    """The ten digits of a time, below 2^48."""
    p = _PAIRS
    return (
        f"{p[milliseconds >> 40]}{p[milliseconds >> 30 & 1023]}{p[milliseconds >> 20 & 1023]}"
        f"{p[milliseconds >> 10 & 1023]}{p[milliseconds & 1023]}"
    )


def looks_like_id(text: str, kind: str) -> bool:
    """Say whether `text` has the form of an identifier of this kind; says nothing about existence."""
    prefix, _, digits = text.partition("_")
    return prefix == kind and len(digits) == _ULID_LENGTH and all(c in _ALPHABET for c in digits)
