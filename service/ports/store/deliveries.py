"""Which message may be sent now: a channel that hangs, or is dead, must not have every worker."""

from datetime import timedelta
from typing import Protocol

from service.domain.attention import Message
from service.domain.ids import MessageId
from service.domain.line import Line


class DeliveryStore(Protocol):
    """Deliveries under way, and channels that take nothing."""

    def claim(self, message_id: MessageId, owner: str, lease: timedelta) -> Message | None:
        """Lease what goes next over the channel of a message that is queued and due: it, or one that stands before it.

        None when it is neither queued nor due, or when its channel or the workers are busy with other deliveries: then it
        is due again soon. Pages stand before everything else, those of the most severe incident first.
        """
        ...

    def claim_next(self, channel: str, owner: str, lease: timedelta) -> Message | None:
        """Lease what goes next over this channel; None when there is none, or it is not to be used now."""
        ...

    def failed(self, channel: str) -> Line:
        """Note a delivery that did not get through; return the channel's trouble as it is now."""
        ...

    def note_told(self, channel: str) -> bool:
        """Note that people are told about this trouble; True for the first who says so."""
        ...

    def worked(self, channel: str) -> None:
        """Note that the channel works: what waits for it need wait no longer."""
        ...
