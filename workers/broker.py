"""How a worker keeps its share of a dying broker, and which queue it looks into first.

Rules: what a hold waits for goes first, and nothing waits for ever behind it. A job that is done no longer counts as under
way, whether or not the broker could be told: kombu takes it off the count only after the broker has answered, and Celery
logs the failure and goes on, so that once every slot was finished during an outage, the worker would ask for nothing for
ever. The broker may deliver such a job a second time, which every job allows.
"""

from typing import Any, Final

from kombu.transport.redis import Channel
from kombu.transport.redis import QoS as RedisQoS
from kombu.transport.virtual.base import QoS as LocalQoS
from kombu.utils.scheduling import round_robin_cycle

from service.flow.routes import HURRIED

_EVERYBODYS_TURN: Final = 4


class HurriedCycle(round_robin_cycle):
    """The order in which queues are looked into; BRPOP takes from the first that has something (kombu's own hook)."""

    def __init__(self, it: Any = None) -> None:
        super().__init__(it)  # type: ignore[no-untyped-call]  # kombu ships no types for it
        self._turn = 0

    def consume(self, n: int) -> list[str]:
        """Return the queues: those of `HURRIED` first, the others in turn; every fourth time all of them in turn.

        Among the hurried ones the first two take turns.
        """
        self._turn += 1
        queues: list[str] = self.items[:n]
        if self._turn % _EVERYBODYS_TURN == 0:
            return queues
        alarm, steps, *rest = HURRIED
        order = (alarm, steps, *rest) if self._turn % 2 else (steps, alarm, *rest)
        first = [queue for queue in order if queue in queues]
        return [*first, *(queue for queue in queues if queue not in first)]


class ForgivingQoS(RedisQoS):
    """Counts a job as done before the error of a lost broker goes on its way."""

    def ack(self, delivery_tag: str) -> None:
        """Acknowledge; raises what the connection raises, with the slot free again."""
        try:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # kombu ships no types for it
        except Exception:
            LocalQoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]  # kombu ships no types for it
            raise

    def reject(self, delivery_tag: str, requeue: Any = False) -> None:  # noqa: FBT002  kombu's signature
        """Reject; raises what the connection raises, with the slot free again."""
        try:
            super().reject(delivery_tag, requeue=requeue)  # type: ignore[no-untyped-call]  # kombu ships no types for it
        except Exception:
            LocalQoS.ack(self, delivery_tag)  # type: ignore[no-untyped-call]  # kombu ships no types for it
            raise


def keep_slots() -> None:
    """Make every Redis channel of this process use it; `QoS` is the attribute that kombu provides for this."""
    Channel.QoS = ForgivingQoS
