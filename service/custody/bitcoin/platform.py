"""An own Bitcoin wallet, of several keys or of one: what a connection of it needs, and what it can do.

Rules: the settings say what the wallet is made of, and only a quorum changes them; the vault makes its keys from them
(`vault/bitcoin_wallets.py`). A chain sends no signed webhooks, so every webhook is refused: what the wallet does is told by
its signer, with a token, at `POST /v1/activities` and `POST /v1/decisions`.
"""

from collections.abc import Callable, Mapping
from typing import Final, NoReturn

from service.custody.base import asks_gate, check_asks_gate
from service.custody.bitcoin import calls
from service.domain.bitcoin.wallet import CHAIN, OTHER_KEYS, SCRIPT, THRESHOLD, VAULT_KEYS, read_terms
from service.domain.errors import UnauthenticatedError
from service.ports.custody import ConnectionConfig, PlatformDeclaration, Setting


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise InputError naming the setting."""
    read_terms(settings)
    check_asks_gate(settings)


class NoWebhooks:
    """Implements `ports.custody.WebhookReceiver` by refusing."""

    def receive(self, headers: Mapping[bytes, bytes], body: bytes, *, now_s: float) -> NoReturn:  # noqa: ARG002  none is taken
        """Refuse: nobody signs webhooks of a chain."""
        raise UnauthenticatedError("this connection takes no webhooks: send activities to POST /v1/activities")

    def prepare(self, headers: Mapping[bytes, bytes], *, now_s: float) -> Callable[[], None] | None:  # noqa: ARG002  as receive
        """Fetch nothing."""
        return None


def receiver(config: ConnectionConfig) -> NoWebhooks:  # noqa: ARG001  all alike
    """Return what stands where a receiver would."""
    return NoWebhooks()


def _plain(name: str, help_text: str, *, required: bool = False) -> Setting:
    return Setting(name, required=required, secret=False, opened_by="", help=help_text)


PLATFORM: Final = PlatformDeclaration(
    name="bitcoin",
    title="Own Bitcoin wallet",
    settings=(
        _plain(CHAIN, "the network as CAIP-2, bip122:000000000019d6689c085ae165831e93", required=True),
        _plain(THRESHOLD, "how many keys must sign; for wsh and tr"),
        _plain(VAULT_KEYS, "how many of the keys the vault makes and holds; for wsh and tr"),
        _plain(OTHER_KEYS, "the others' keys, [fingerprint/path]xpub/<0;1>/*, separated by spaces; for wsh and tr"),
        _plain(
            SCRIPT,
            "of several keys wsh (unless told) or tr, of one key wpkh (BIP-84) or tr_key (BIP-86): signatures of tr and"
            " tr_key are made beside the token, not in it",
        ),
        asks_gate("the wallet signs nothing"),
    ),
    capabilities=calls.CAPABILITIES,
    missing=calls.MISSING,
    receiver=receiver,
    calls=calls.calls,
    check_settings=check_settings,
)
