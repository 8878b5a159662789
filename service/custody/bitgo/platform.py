"""BitGo: what a connection of it needs, what it can do, and where it asks before it signs."""

from collections.abc import Mapping
from typing import Final

from service.custody.base import RATE
from service.custody.bitgo import calls, gate, webhooks
from service.custody.bitgo.gate import BitgoDoor
from service.custody.bitgo.wallets import read_assets
from service.custody.bitgo.webhooks import BitgoReceiver
from service.domain.assets import ASSETS_SETTING
from service.ports.custody import ConnectionConfig, PlatformDeclaration, Setting, WebhookReceiver
from service.ports.gate import GateDoor


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise InputError naming the setting."""
    calls.check_settings(settings)
    read_assets(settings)


def receiver(config: ConnectionConfig) -> WebhookReceiver:
    """Return the receiver of one connection. Raises ConfigurationError."""
    return BitgoReceiver(config)


def door(config: ConnectionConfig) -> GateDoor:
    """Return the policy webhook's door of one connection."""
    return BitgoDoor(config)


def _plain(name: str, help_text: str) -> Setting:
    return Setting(name, required=False, secret=False, opened_by="", help=help_text)


PLATFORM: Final = PlatformDeclaration(
    name="bitgo",
    title="BitGo",
    settings=(
        Setting(
            webhooks.SECRET,
            required=True,
            secret=True,
            opened_by="api",
            help="the enterprise's webhook secret; add .0, .1 … to rotate without a gap",
            check=webhooks.check_secret,
        ),
        Setting(
            gate.PATH_SECRET,
            required=False,
            secret=True,
            opened_by="api",
            help="the last part of the policy webhook's address",
            check=gate.check_secret,
        ),
        _plain("gate_deadline_s", "seconds within which a question is answered, 20 unless told, 25 at most"),
        _plain(ASSETS_SETTING, 'JSON: {"<coin>": {"caip19": "…", "decimals": 18}}'),
        RATE,
        *calls.SETTINGS,
    ),
    capabilities=calls.CAPABILITIES,
    missing=calls.MISSING,
    receiver=receiver,
    calls=calls.calls,
    check_settings=check_settings,
    gate=door,
)
