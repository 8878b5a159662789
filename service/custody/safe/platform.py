"""Safes watched by the Safe events service: what a connection of them needs, and what it can do."""

from collections.abc import Mapping
from typing import Final

from service.custody.base import RATE, asks_gate, check_asks_gate
from service.custody.safe import calls
from service.custody.safe.webhooks import SAFES, SECRET_PREFIX, SafeReceiver, basic, safes
from service.ports.custody import ConnectionConfig, PlatformDeclaration, Setting, WebhookReceiver


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise InputError naming the setting."""
    safes(settings)
    check_asks_gate(settings)


def receiver(config: ConnectionConfig) -> WebhookReceiver:
    """Return the receiver of one connection. Raises ConfigurationError."""
    return SafeReceiver(config)


PLATFORM: Final = PlatformDeclaration(
    name="safe",
    title="Safe multisigs",
    settings=(
        Setting(
            SAFES, required=True, secret=False, opened_by="", help="the Safes, as eip155:1:0x…, separated by spaces"
        ),
        Setting(
            SECRET_PREFIX,
            required=True,
            secret=True,
            opened_by="api",
            help="user:password of HTTP Basic; add .0, .1 … to change it without a gap",
            check=basic,
        ),
        asks_gate("no owner signs"),
        RATE,
    ),
    capabilities=calls.CAPABILITIES,
    missing=calls.MISSING,
    receiver=receiver,
    calls=calls.calls,
    check_settings=check_settings,
)
