"""An own hot wallet on EVM chains: what a connection of it needs, and what it can do."""

from typing import Final

from service.custody.base import RATE, asks_gate, check_asks_gate
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
        asks_gate("the wallet signs nothing"),
        RATE,
    ),
    capabilities=calls.CAPABILITIES,
    missing=calls.MISSING,
    receiver=receiver,
    calls=calls.calls,
    check_settings=check_asks_gate,
)
