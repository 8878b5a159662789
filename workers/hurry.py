"""What a child begins by itself because nothing may come before it: the way from an alert to the hold (ADR 0029).

Rules: only jobs of `URGENT` whose event this child's own commit left in the outbox; one of them, the first, because the
others are as urgent for whoever is free. The relay publishes them all the same, so a child that dies here loses nothing,
and a job that was begun twice is safe as every job is.
"""

from collections.abc import Collection, Sequence

import structlog

from service.domain.events import Event
from service.flow.routes import URGENT
from workers.publish import Message, Waiting


class Hurry:
    """Remembers what this child's transactions left since it last asked."""

    def __init__(self) -> None:
        self._left: list[Waiting] = []

    def note(self, left: Sequence[tuple[int, Event]]) -> None:
        """Take in what one committed transaction left in the outbox."""
        trace_id = structlog.contextvars.get_contextvars().get("trace_id")
        self._left += [Waiting(number, event.name, event.payload(), trace_id) for number, event in left]

    def take(self, known: Collection[str]) -> Message | None:
        """Return the first urgent job among those that this child knows, and forget the rest."""
        left, self._left = self._left, []
        for waiting in left:
            for job in waiting.jobs:
                if job in URGENT and job in known:
                    return Message(job, waiting.payload, waiting.trace_id, waiting.number)
        return None
