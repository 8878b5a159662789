"""The calls to each connection's platform, kept for as long as the connection's row stays the same.

Rules: one HTTP client a child process and connection, because making one costs more than a call; the row and its sealed
secrets are read for every step, so that a changed connection is used at once; secrets are still opened on demand. What is
kept is made anew after `LONGEST`, so that a key which was put into the token by hand is seen.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from service.domain.ids import ConnectionId
from service.ports.custody import Capability, ConnectionConfig, ContainmentCalls, HoldsLine, Pace, Unpaced

LONGEST: Final = 300.0
"""Seconds."""


Paces = Callable[[ConnectionId, Callable[[], bool]], Pace]
"""Makes the pace of a connection, given what says whether a call is urgent."""


def unpaced(_connection: ConnectionId, _urgent: Callable[[], bool]) -> Pace:
    """Stand where nobody counts calls."""
    return Unpaced()


@dataclass(frozen=True, slots=True)
class _Kept:
    likeness: tuple[object, ...]
    made_at: float
    calls: ContainmentCalls


class Lines:
    """Makes calls and keeps them; for one thread."""

    def __init__(self, make: Callable[[ConnectionConfig], ContainmentCalls], paces: Paces = unpaced) -> None:
        self._make = make
        self._paces = paces
        self._kept: dict[str, _Kept] = {}
        self._heard: dict[ConnectionId, bool] = {}
        self._urgent = False

    def to(self, config: ConnectionConfig, sealed: Mapping[str, bytes]) -> ContainmentCalls:
        """Return the calls of a connection as it is now. Raises what making them raises."""
        likeness = (config.platform, tuple(sorted(config.settings.items())), tuple(sorted(sealed.items())))
        found = self._kept.get(config.id)
        now = time.monotonic()
        if found is None or found.likeness != likeness or now - found.made_at > LONGEST:
            if found is not None:
                _hang_up(found.calls)
            pace = self._paces(config.id, lambda: self._urgent)
            listening = replace(config, heard=partial(self._heard.__setitem__, config.id), pace=pace)
            found = self._kept[config.id] = _Kept(likeness, now, self._make(listening))
        return found.calls

    def hurry(self, urgent: bool) -> None:  # noqa: FBT001  a callback's only word
        """Say whether the calls from now on go before others."""
        self._urgent = urgent

    def heard(self, connection: ConnectionId) -> bool | None:
        """Say whether the platform answered when it was last called, None when it was not; asking forgets it."""
        return self._heard.pop(connection, None)

    def ours(self, connection: ConnectionId) -> frozenset[Capability]:
        """Return what our own gate does for a connection; nothing while it was never worked on here."""
        kept = self._kept.get(connection)
        return frozenset() if kept is None else kept.calls.ours

    def close(self) -> None:
        """Let go of every line."""
        for kept in self._kept.values():
            _hang_up(kept.calls)
        self._kept.clear()


def _hang_up(calls: ContainmentCalls) -> None:
    if isinstance(calls, HoldsLine):
        calls.close()
