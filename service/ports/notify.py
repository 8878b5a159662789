"""Delivering one message over one channel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Letter:
    """One message as a channel gets it."""

    key: str
    """Idempotency key: a channel that can, refuses the second; others put it where the reader sees it."""
    recipient: str
    subject: str
    body: str
    facts: Mapping[str, str]
    """Ids for machines: incident, approval, kind."""


class Channel(Protocol):
    """A way to reach people."""

    def deliver(self, letter: Letter) -> Mapping[str, str]:
        """Deliver and return the receipt.

        Raises RefusedByOtherSideError (will never work), UnavailableError (try later), UnknownOutcomeError (the answer
        was lost after the message was handed over).
        """
        ...
