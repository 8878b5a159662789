"""The channels of this installation, from their rows; secrets are unsealed on the way in and kept nowhere else."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.domain.errors import ConfigurationError
from service.domain.secrets import Secret
from service.notifiers.http import SignedWebhookChannel, SlackChannel
from service.notifiers.longtail import AppriseChannel
from service.notifiers.smtp import SmtpChannel
from service.ports.notify import Channel


@dataclass(frozen=True, slots=True)
class ChannelRow:
    """One channel as stored."""

    id: str
    kind: str
    config: Mapping[str, object]
    sealed_secret: bytes | None


Unseal = Callable[[bytes, bytes], bytes]
"""(sealed, associated data) → secret."""


def channels_from(rows: Sequence[ChannelRow], unseal: Unseal) -> Mapping[str, Channel]:
    """Build every channel. Raises ConfigurationError naming the channel whose declaration is wrong."""
    return {row.id: _build(row, unseal) for row in rows}


def _build(row: ChannelRow, unseal: Unseal) -> Channel:
    secret = None
    if row.sealed_secret is not None:
        secret = Secret(unseal(row.sealed_secret, f"channel/{row.id}".encode()).decode())
    try:
        return _of_kind(row, secret)
    except KeyError as missing:
        raise ConfigurationError(f"channel {row.id} ({row.kind}) lacks {missing}: register it anew") from missing


def _of_kind(row: ChannelRow, secret: Secret | None) -> Channel:
    config = {name: str(value) for name, value in row.config.items()}
    if row.kind == "smtp":
        return SmtpChannel(
            host=config["host"],
            port=int(config["port"]),
            sender=config["sender"],
            security=config.get("security", "starttls"),
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
    raise ConfigurationError(f"channel {row.id} has the unknown kind {row.kind!r}: use smtp, slack, webhook or apprise")
