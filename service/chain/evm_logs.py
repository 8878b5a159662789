"""Looks through an EVM chain's logs, from the newest block to the first (`eth_getLogs` of the execution APIs).

Rules: many endpoints answer for so many blocks at once only, and each says so in its own words; so whatever is refused, too
large or too slow is asked again over fewer blocks (LADDER), and what the endpoint takes is kept to. What was found and
looked through is remembered while the process runs, and the next question goes on from there; blocks that are not final
are looked through each time. What was not is said: no log there is not "no log".
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from service.domain.errors import UnavailableError
from service.ports.chain import FoundLogs

LADDER: Final = (10**12, 100_000, 50_000, 10_000, 5_000, 2_000, 1_000, 500, 100, 10)
"""How many blocks are asked at once: all of them, then what endpoints are known to take."""
PATIENCE: Final = 50
"""So many answers in a row, and one step up the ladder is tried: a refusal may have been of a busy moment."""
MOST_LOGS: Final = 20_000
"""Different logs that are remembered of one question; more are not looked for."""
MOST_QUESTIONS: Final = 200
"""Questions that are remembered, the newest."""
Log = tuple[str, Sequence[bytes]]
Topics = Sequence[Sequence[bytes]]
Ask = Callable[[Sequence[str], Topics, int, int], Sequence[Log]]
"""Asks an endpoint for the logs of contracts from one block to another, both included. Raises UnavailableError."""


@dataclass(slots=True)
class _Seen:
    """What one question found so far."""

    found: dict[Log, tuple[int, int]] = field(default_factory=dict)
    """(last block of the answer, place in it) where it was found last."""
    unread: list[tuple[int, int]] = field(default_factory=list)
    """(first, last) of blocks that were not looked through, the newest first."""
    following: int = 0
    """The block after the last that is in `unread` or looked through for good."""

    @property
    def newest_first(self) -> Sequence[Log]:
        """What was found: endpoints answer in the order of the blocks."""
        return tuple(sorted(self.found, key=self.found.__getitem__, reverse=True))


class LogReader:
    """Logs of one endpoint. Not for several threads at once."""

    def __init__(self, ask: Ask, clock: Callable[[], float] = time.monotonic) -> None:
        self._ask = ask
        self._clock = clock
        self._seen: dict[tuple[tuple[str, ...], tuple[tuple[bytes, ...], ...]], _Seen] = {}
        self._rung = 0
        self._in_a_row = 0

    def read(self, contracts: Sequence[str], topics: Topics, blocks: tuple[int, int], until: float) -> FoundLogs:
        """Look on through what is left below `blocks`: (the newest block, the newest final one); see the port."""
        newest, final = blocks
        question = (tuple(sorted({one.lower() for one in contracts})), tuple(tuple(place) for place in topics))
        seen = self._seen[question] = self._seen.pop(question, _Seen())
        if len(self._seen) > MOST_QUESTIONS:
            self._seen.pop(next(iter(self._seen)))
        if not question[0]:
            return FoundLogs(())
        if newest + 1 < seen.following:
            return FoundLogs(seen.newest_first, f"the newest block was told as {newest}, after {seen.following - 1}")
        if newest >= seen.following:
            seen.unread.insert(0, (seen.following, newest))
            seen.following = newest + 1
        why = self._look_through(question[0], topics, seen, until)
        unread = "" if not seen.unread else f"blocks {_told(seen.unread)} were not looked through for logs: {why}"
        _forget(seen, final)
        return FoundLogs(seen.newest_first, unread)

    def _look_through(self, contracts: Sequence[str], topics: Topics, seen: _Seen, until: float) -> str:
        """Return why it ended; nothing is left where `seen` has nothing unread."""
        while seen.unread:
            if self._clock() >= until:
                return "the time was over, it goes on with the next attempt"
            if len(seen.found) >= MOST_LOGS:
                return f"there are over {MOST_LOGS} others"
            first, last = seen.unread[0]
            start = max(first, last - LADDER[self._rung] + 1)
            try:
                found = self._ask(contracts, topics, start, last)
            except UnavailableError as error:
                if not self._down(last - start + 1):
                    return str(error)
                continue
            for place, log in enumerate(found):
                seen.found[log] = max((last, place), seen.found.get(log, (0, 0)))
            seen.unread[:1] = [(first, start - 1)] if start > first else []
            self._up()
        return ""

    def _down(self, refused: int) -> bool:
        """Ask for fewer blocks than were refused; False where there is no smaller question."""
        self._in_a_row = 0
        rung = next((at for at, blocks in enumerate(LADDER) if blocks < refused), None)
        if rung is not None:
            self._rung = rung
        return rung is not None

    def _up(self) -> None:
        self._in_a_row += 1
        if self._in_a_row >= PATIENCE and self._rung:
            self._rung -= 1
            self._in_a_row = 0


def _forget(seen: _Seen, final: int) -> None:
    """Leave what is above the final block to be looked through again."""
    seen.following = min(seen.following, final + 1)
    seen.unread = [(first, min(last, final)) for first, last in seen.unread if first <= final]


def _told(unread: Sequence[tuple[int, int]]) -> str:
    return ", ".join(f"{first} to {last}" for first, last in unread)
