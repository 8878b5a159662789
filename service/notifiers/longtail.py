"""Every other service by apprise: one URL a channel, which is the secret. No receipt ids, so nothing pages through it."""

from collections.abc import Mapping
from dataclasses import dataclass

import apprise

from service.domain.errors import RefusedByOtherSideError, UnavailableError
from service.domain.secrets import Secret
from service.ports.notify import Letter


@dataclass(frozen=True, slots=True)
class AppriseChannel:
    """One apprise URL, for instance of a chat service or an SMS gateway."""

    url: Secret

    def deliver(self, letter: Letter) -> Mapping[str, str]:
        """Deliver through apprise; see the port for what is raised."""
        sender = apprise.Apprise()
        if not sender.add(self.url.reveal()):
            raise RefusedByOtherSideError("apprise does not understand the channel's URL: register it anew")
        if not sender.notify(title=letter.subject, body=letter.body):
            raise UnavailableError("the service behind the channel did not take the message")
        return {"service": "apprise"}
