"""Sending a job message: a name and ids, safe to deliver twice or never (design D2)."""

from collections.abc import Mapping
from typing import Protocol


class Queue(Protocol):
    """The way to the workers. Losing a message loses nothing: the relay and the sweeper find what is late."""

    def publish(self, job: str, payload: Mapping[str, str], trace_id: str | None = None) -> None:
        """Send one job by name, under the trace it belongs to. Raises UnavailableError when the broker is not there."""
        ...
