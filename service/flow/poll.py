"""Asking a platform for what it sends no webhook of, and keeping it for intake.

Rules: one worker asks a connection at a time, and not before it is due; no transaction is open while it is asked. What came
and how far it reaches is kept in one transaction, so that a worker that dies in between loses nothing: the next one asks
from the same place again, and an event's id keeps it from counting twice.
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from service.domain.ids import ConnectionId
from service.ports.clock import Clock
from service.ports.custody import EventSource
from service.ports.store.unit import Database

EVERY_S: Final = 60.0
LEAST_S: Final = 10.0
MOST_S: Final = 3600.0


@dataclass(frozen=True, slots=True)
class Asking:
    """What a worker needs to ask. `source`: the connection's, and after how many seconds it is asked again."""

    db: Database
    clock: Clock
    source: Callable[[ConnectionId], tuple[EventSource | None, float]]


def poll(asking: Asking, connection: ConnectionId) -> int:
    """Ask one connection if it is due; return how many events were new. Raises what the platform's call raises."""
    source, every_s = asking.source(connection)
    if source is None:
        return 0
    with closing(source):
        return _poll(asking, connection, source, every_s)


def _poll(asking: Asking, connection: ConnectionId, source: EventSource, every_s: float) -> int:
    with asking.db.begin() as uow:
        claim = uow.polling.claim(connection, timedelta(seconds=min(max(every_s, LEAST_S), MOST_S)))
    if claim is None:
        return 0
    found = source.poll(claim.cursor, now=asking.clock.now())
    with asking.db.begin() as uow:
        return uow.polling.keep(connection, claim.cursor, found.cursor, found.events)
