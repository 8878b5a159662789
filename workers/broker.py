"""How a worker keeps its share of the broker when the broker dies in the middle of jobs.

Rule: a job that is done no longer counts as under way, whether or not the broker could be told. kombu takes it off the
count only after the broker has answered, and Celery logs the failure and goes on: once every slot was finished during an
outage, the worker would ask for nothing for ever. The broker may deliver such a job a second time, which every job allows.
"""

from typing import Any

from kombu.transport.redis import Channel
from kombu.transport.redis import QoS as RedisQoS
from kombu.transport.virtual.base import QoS as LocalQoS


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
