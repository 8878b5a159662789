"""Fireblocks: what a connection of it needs, what it can do, and where it asks before it signs."""

from collections.abc import Mapping
from typing import Final

from service.custody.base import RATE, require_url
from service.custody.fireblocks import audit, calls
from service.custody.fireblocks.assets import read_assets
from service.custody.fireblocks.bitcoin import CHANGE_SETTING, read_change
from service.custody.fireblocks.gate import KEY_SETTING, FireblocksDoor
from service.custody.fireblocks.webhooks import FireblocksReceiver, rsa_key
from service.domain.assets import ASSETS_SETTING
from service.domain.errors import ConfigurationError, InputError
from service.ports.custody import ConnectionConfig, PlatformDeclaration, Setting, WebhookReceiver
from service.ports.gate import GateDoor


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise InputError naming the setting."""
    calls.check_settings(settings)
    read_assets(settings)
    read_change(settings)
    if settings.get("jwks_url"):
        require_url("jwks_url", settings["jwks_url"])
        _require(settings, "workspace_id", "v2 webhooks of every other customer would pass")
    if settings.get("webhook_public_key"):
        _require(settings, "tenant_id", "v1 webhooks of every other customer would pass")
    audit.check_settings(settings)
    for name in ("webhook_public_key", KEY_SETTING):
        try:
            if settings.get(name):
                rsa_key(settings[name], name)
        except ConfigurationError as error:
            raise InputError(str(error), field=name) from error


def receiver(config: ConnectionConfig) -> WebhookReceiver:
    """Return the receiver of one connection. Raises ConfigurationError."""
    return FireblocksReceiver(config)


def gate(config: ConnectionConfig) -> GateDoor:
    """Return the co-signer's door of one connection. Raises ConfigurationError."""
    return FireblocksDoor(config)


def _require(settings: Mapping[str, str], name: str, because: str) -> None:
    if not settings.get(name):
        raise InputError(f"{name} is missing: without it {because}", field=name)


def _plain(name: str, help_text: str) -> Setting:
    return Setting(name, required=False, secret=False, opened_by="", help=help_text)


PLATFORM: Final = PlatformDeclaration(
    name="fireblocks",
    title="Fireblocks",
    settings=(
        _plain("workspace_id", "the workspace whose v2 webhooks are accepted"),
        _plain("jwks_url", "where Fireblocks publishes its webhook keys, by region"),
        _plain("tenant_id", "the tenant whose v1 webhooks are accepted"),
        _plain("webhook_public_key", "PEM of the region's v1 webhook key"),
        _plain(KEY_SETTING, "PEM of the API co-signer's key, which signs callbacks"),
        _plain("gate_deadline_s", "seconds within which a callback is answered, 20 unless told, 25 at most"),
        _plain(ASSETS_SETTING, 'JSON: {"ASSET_ID": {"caip19": "…", "decimals": 18}}'),
        _plain(CHANGE_SETTING, 'JSON: {"VAULT_ACCOUNT_ID": ["bc1q…"]}, where Bitcoin change of that account goes'),
        _plain(audit.POLL_SETTING, "seconds between questions for the audit log, 10 to 3600; not asked where not told"),
        RATE,
        *calls.SETTINGS,
    ),
    capabilities=calls.CAPABILITIES,
    missing=calls.MISSING,
    receiver=receiver,
    calls=calls.calls,
    check_settings=check_settings,
    gate=gate,
    poll=audit.source,
)
