"""The channels of this installation, from their rows; secrets are unsealed on the way in and kept nowhere else.

Rules: a channel that cannot be built refuses every message and says why, so that one wrong declaration does not silence
the others; a token that is only busy is no wrong declaration.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.domain.errors import ConfigurationError, PortcullisError, RefusedByOtherSideError, RetryKind
from service.domain.secrets import Secret
from service.domain.setup import channel_aad
from service.notifiers.http import SignedWebhookChannel, SlackChannel
from service.notifiers.longtail import AppriseChannel
from service.notifiers.smtp import Security, SmtpChannel
from service.ports.notify import Channel, Letter
from service.ports.store.registry import ChannelRow

Unseal = Callable[[bytes, bytes], bytes]
"""(sealed, associated data) → secret. Raises PortcullisError."""
_SECURITIES: Mapping[str, Security] = {"none": "none", "starttls": "starttls", "tls": "tls"}


@dataclass(frozen=True, slots=True)
class UnusableChannel:
    """Stands for a channel whose declaration or secret is wrong."""

    reason: str

    def deliver(self, letter: Letter) -> Mapping[str, str]:  # noqa: ARG002  the port's name for it
        """Refuse."""
        raise RefusedByOtherSideError(self.reason)


def channels_from(rows: Sequence[ChannelRow], unseal: Unseal) -> Mapping[str, Channel]:
    """Build every channel by its id. Raises what `unseal` raises when it may work later."""
    return {row.id: _build(row, unseal) for row in rows}


def _build(row: ChannelRow, unseal: Unseal) -> Channel:
    try:
        secret = None
        if row.sealed_secret is not None:
            secret = Secret(unseal(row.sealed_secret, channel_aad(row.id)).decode())
        return _of_kind(row, secret)
    except KeyError as missing:
        return UnusableChannel(f"channel {row.id} ({row.kind}) lacks {missing}: register it anew")
    except ValueError:
        return UnusableChannel(f"channel {row.id} ({row.kind}) has a malformed value: register it anew")
    except PortcullisError as error:
        if error.retry is not RetryKind.NEVER:
            raise
        return UnusableChannel(f"channel {row.id} ({row.kind}) cannot be used: {error}")


def _security(word: str) -> Security:
    if word not in _SECURITIES:
        raise ConfigurationError(f"security {word!r} is not none, starttls or tls")
    return _SECURITIES[word]


def _of_kind(row: ChannelRow, secret: Secret | None) -> Channel:
    config = {name: str(value) for name, value in row.config.items()}
    if row.kind == "smtp":
        return SmtpChannel(
            host=config["host"],
            port=int(config["port"]),
            sender=config["sender"],
            security=_security(config.get("security", "starttls")),
            user=config.get("user"),
            password=secret,
        )
    if secret is None:
        raise KeyError("secret")
    if row.kind == "slack":
        return SlackChannel(secret)
    if row.kind == "webhook":
        return SignedWebhookChannel(config["url"], secret)
    if row.kind == "apprise":
        return AppriseChannel(secret)
    raise ConfigurationError(f"{row.kind!r} is no kind of channel: use smtp, slack, webhook or apprise")
