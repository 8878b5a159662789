"""Sending job messages: implements `ports.queue.Queue` on Celery.

A message is a name, ids and the trace id, nothing else. The queue follows from the name alone, in `flow/routes.py`. A job
that an event started carries the event's number, so that its worker can note that it is done: what is not noted is sent
again, whatever the broker forgot. The API may write events, so `PAYLOAD` lets a row be read only as what an event is.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, LiteralString

from celery import Celery
from kombu.exceptions import OperationalError

from service.domain.errors import UnavailableError
from service.flow.routes import QUEUES, jobs_of

PAYLOAD: Final[LiteralString] = """
    CASE WHEN jsonb_typeof(payload) = 'object' AND NOT payload @? 'strict $.* ? (@.type() != "string")'
    AND octet_length(CAST(payload AS text)) <= 16384 THEN payload END
"""
"""In SQL, the payload of an outbox row: strings by name, 16 KiB at most. NULL for whatever else somebody wrote there.

The database judges it, because reading deep or long JSON fails in the driver already.
"""


@dataclass(frozen=True, slots=True)
class Waiting:
    """One row of the outbox."""

    number: int
    event: str
    payload: Mapping[str, str]
    trace_id: str | None

    @property
    def jobs(self) -> tuple[str, ...]:
        """The jobs it starts. Raises KeyError for an event that has none in the table of routes."""
        return jobs_of(self.event, self.payload)


@dataclass(frozen=True, slots=True)
class Message:
    """One job as it reaches a worker; `outbox_id` None: no event started it."""

    job: str
    payload: Mapping[str, str]
    trace_id: str | None
    outbox_id: int | None


def done_key(number: int, job: str) -> str:
    """Return the key under which a worker notes that it handled one job of one event."""
    return f"job:{number}:{job}"


class CeleryQueue:
    """Publishes through one Celery application."""

    def __init__(self, app: Celery) -> None:
        self._app = app

    def publish(self, job: str, payload: Mapping[str, str], trace_id: str | None = None) -> None:
        """Send one job; see the port."""
        self._send(job, {"payload": dict(payload), "trace_id": trace_id})

    def publish_event(self, waiting: Waiting, leave_out: Collection[str] = ()) -> None:
        """Send every job that an event starts, but those left out. Raises KeyError for an unknown event."""
        for job in waiting.jobs:
            if job not in leave_out:
                self._send(
                    job, {"payload": dict(waiting.payload), "trace_id": waiting.trace_id, "outbox_id": waiting.number}
                )

    def _send(self, job: str, arguments: Mapping[str, object]) -> None:
        queue = QUEUES[job.partition(".")[0]]
        try:
            self._app.send_task(job, kwargs=dict(arguments), queue=queue, ignore_result=True, retry=False)
        except (OperationalError, OSError) as error:
            raise UnavailableError(f"the broker did not take {job}: it is sent again", retry_after_s=1) from error
