"""Every other service by apprise: one URL a channel, which is the secret.

Rules: apprise says only yes or no and gives no receipt, so its no is an unknown outcome and is not tried again; it logs
URLs and is therefore silenced.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from service.domain.errors import RefusedByOtherSideError, UnknownOutcomeError
from service.domain.secrets import Secret
from service.ports.notify import Letter

logging.getLogger("apprise").disabled = True


@dataclass(frozen=True, slots=True)
class AppriseChannel:
    """One apprise URL, for instance of a chat service or an SMS gateway."""

    url: Secret

    def deliver(self, letter: Letter) -> Mapping[str, str]:
        """Deliver through apprise; see the port for what is raised."""
        import apprise  # noqa: PLC0415  a worker without such a channel saves its memory

        sender = apprise.Apprise()
        if not sender.add(self.url.reveal()):
            raise RefusedByOtherSideError("apprise does not understand the channel's URL: register it anew")
        if not sender.notify(title=letter.subject, body=letter.body):
            raise UnknownOutcomeError("the service behind the channel did not say that it took the message")
        return {"service": "apprise"}
