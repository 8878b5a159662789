"""A platform that speaks our own schema: what a connection of it needs, and what it can do."""

from collections.abc import Mapping
from typing import Final

from service.custody.base import RATE
from service.custody.standard import calls
from service.custody.standard.webhooks import PUBLIC_KEYS, SECRET_PREFIX, StandardReceiver, public_key, symmetric_key
from service.ports.custody import ConnectionConfig, PlatformDeclaration, Setting, WebhookReceiver


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise InputError naming the setting."""
    calls.check_settings(settings)
    for text in settings.get(PUBLIC_KEYS, "").split():
        public_key(text)


def receiver(config: ConnectionConfig) -> WebhookReceiver:
    """Return the receiver of one connection. Raises ConfigurationError."""
    return StandardReceiver(config)


PLATFORM: Final = PlatformDeclaration(
    name="standard",
    title="Standard Webhooks with the Portcullis activity schema",
    settings=(
        Setting(
            SECRET_PREFIX,
            required=False,
            secret=True,
            opened_by="api",
            help="whsec_…; add .0, .1 … to rotate without a gap",
            check=symmetric_key,
        ),
        Setting(PUBLIC_KEYS, required=False, secret=False, opened_by="", help="whpk_… keys of v1a signatures"),
        RATE,
        *calls.SETTINGS,
    ),
    capabilities=calls.CAPABILITIES,
    missing=calls.MISSING,
    receiver=receiver,
    calls=calls.calls,
    check_settings=check_settings,
)
