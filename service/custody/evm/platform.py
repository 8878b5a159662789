"""An own hot wallet on EVM chains: what a connection of it needs, and what it can do."""

from typing import Final

from service.custody.base import ASKS_GATE, check_asks_gate
from service.custody.evm import calls
from service.custody.evm.webhooks import SECRET_PREFIX, EvmReceiver, hmac_secret
from service.ports.custody import ConnectionConfig, PlatformDeclaration, Setting, WebhookReceiver


def receiver(config: ConnectionConfig) -> WebhookReceiver:
    """Return the receiver of one connection. Raises ConfigurationError."""
    return EvmReceiver(config)


PLATFORM: Final = PlatformDeclaration(
    name="evm",
    title="Own EVM wallet",
    settings=(
        Setting(
            SECRET_PREFIX,
            required=True,
            secret=True,
            opened_by="api",
            help="the secret of its events, 24 characters or more; add .0, .1 … to rotate without a gap",
            check=hmac_secret,
        ),
        Setting(
            ASKS_GATE,
            required=False,
            secret=False,
            opened_by="",
            help="yes where the wallet signs nothing without an answer of POST /v1/decisions",
        ),
        Setting("rate_per_s", required=False, secret=False, opened_by="", help="deliveries a second, 2000 unless told"),
    ),
    capabilities=calls.CAPABILITIES,
    missing=calls.MISSING,
    receiver=receiver,
    calls=calls.calls,
    check_settings=check_asks_gate,
)
