"""Delivering one message over one channel, and signed letters to outsiders."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from service.domain.plan import Receipt, Verdict


@dataclass(frozen=True, slots=True)
class Attachment:
    """One file beside a message. `kind` is its media type, such as `text/html`."""

    name: str
    kind: str
    content: bytes


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
    attachments: tuple[Attachment, ...] = ()
    """Mail alone carries them."""


class Channel(Protocol):
    """A way to reach people."""

    def deliver(self, letter: Letter) -> Mapping[str, str]:
        """Deliver and return the receipt.

        Raises RefusedByOtherSideError (will never work), UnavailableError (try later), UnknownOutcomeError (the answer
        was lost after the message was handed over).
        """
        ...


@runtime_checkable
class Keeping(Channel, Protocol):
    """A channel that can carry several messages over one connection."""

    def kept(self) -> AbstractContextManager[Channel]:
        """Keep the connection that the first message opens for the next ones, until the block ends.

        For one thread. What is raised is raised as by a channel that opens one each time: that the other side ended a
        connection between two messages is no failure.
        """
        ...


@dataclass(frozen=True, slots=True)
class OutsideLetter:
    """A letter to somebody outside, word for word as a quorum approved it."""

    channel: str
    """Id of a mail channel."""
    recipient: str
    subject: str
    text: str


class Outside(Protocol):
    """Sends signed letters to outsiders."""

    def send(self, letter: OutsideLetter, *, key: str) -> Receipt:
        """Sign and send it.

        The receipt's facts hold `signature` and `sha256` of the text, `sums` of all files with `sums_signature`, and
        `public_key`. Raises RefusedByOtherSideError, UnavailableError, UnknownOutcomeError.
        """
        ...

    def sent(self, key: str) -> Verdict:
        """Say whether the letter of this key arrived; CANNOT_TELL where the channel cannot be asked."""
        ...
