"""What a transcript states of each account: its public side and its first address, from the seed alone.

Rules held here: pure; the kind of address follows from purpose and coin of the path (BIP-43, SLIP-44), and a path that no
kind is known for states its extended public key and no address.
"""

from dataclasses import dataclass
from typing import Final

from hsm.derivation import ExtendedKey, evm_address, p2pkh_address, p2tr_address, p2wpkh_address
from hsm.keypath import (
    COIN_BITCOIN,
    COIN_BITCOIN_TEST,
    COIN_ETHEREUM,
    COIN_SOLANA,
    PURPOSE_BIP44,
    PURPOSE_BIP84,
    PURPOSE_BIP86,
    DerivationPath,
)
from hsm.slip10 import Ed25519Node, solana_address

_BITCOIN: Final = {PURPOSE_BIP44: p2pkh_address, PURPOSE_BIP84: p2wpkh_address, PURPOSE_BIP86: p2tr_address}
_NETWORKS: Final = {COIN_BITCOIN: "main", COIN_BITCOIN_TEST: "test"}


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """The public side of an account: its xpub, or nothing for Ed25519, and its first address, or nothing."""

    path: str
    xpub: str
    first_address: str

    def as_json(self) -> dict[str, str]:
        """Return the fields as plain values."""
        return {"path": self.path, "xpub": self.xpub, "first_address": self.first_address}


def facts_of(seed: bytes, text: str) -> AccountFacts:
    """Return what is public of the account at a path. Raises DerivationError."""
    path = DerivationPath.parse(text)
    purpose, coin, _ = (level.index for level in path.levels)
    if (purpose, coin) == (PURPOSE_BIP44, COIN_SOLANA):
        leaf = Ed25519Node.from_seed(seed).derive(path.child(0, hardened=True))
        return AccountFacts(str(path), "", solana_address(leaf.public_key))
    account = ExtendedKey.from_seed(seed).derive(path)
    first = account.derive(DerivationPath().leaf(0, 0)).public_key
    address = ""
    if (purpose, coin) == (PURPOSE_BIP44, COIN_ETHEREUM):
        address = evm_address(first)
    elif purpose in _BITCOIN and coin in _NETWORKS:
        address = _BITCOIN[purpose](first, _NETWORKS[coin])
    return AccountFacts(str(path), account.xpub(), address)
