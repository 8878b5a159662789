"""A Bitcoin account's wallet as it is registered, and the sweep that is kept ready for it.

Rules: what a wallet is made of stands in its connection's settings, which only a quorum changes: the kind of output, how
many keys must sign, how many of them the vault makes, and the others' public keys. The vault never holds fewer than one; a
wallet of one key has the vault's. Account paths are BIP-48's for several keys, BIP-84's and BIP-86's for one. A
prepared sweep authorises nothing: no transaction of it is whole, and what it says is proven again before anything is signed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Final

import msgspec

from service.domain.bitcoin.coins import Coin, Outpoint, proven
from service.domain.bitcoin.descriptor import MAX_KEYS, Cosigner, Descriptor, Kind
from service.domain.bitcoin.network import Network, network_of
from service.domain.errors import InputError
from service.domain.ids import AccountId

PLATFORM: Final = "bitcoin"
CHAIN: Final = "chain"
SCRIPT: Final = "script"
THRESHOLD: Final = "threshold"
VAULT_KEYS: Final = "vault_keys"
OTHER_KEYS: Final = "other_keys"
_PATH: Final[Mapping[Kind, str]] = {
    Kind.WSH: "m/48h/{coin}h/0h/2h",
    Kind.TR: "m/48h/{coin}h/0h/3h",  # 3 for taproot is a convention beyond BIP-48
    Kind.WPKH: "m/84h/{coin}h/0h",
    Kind.TR_KEY: "m/86h/{coin}h/0h",
}


Home = tuple[str, str]
"""Where a key of the vault's is derived: the vault wallet that has its seed, and its account path."""


@dataclass(frozen=True, slots=True)
class WalletTerms:
    """What the wallets of one connection are made of."""

    network: Network
    kind: Kind
    threshold: int
    vault_keys: int
    others: tuple[Cosigner, ...]

    @property
    def path(self) -> str:
        """The first account path of the vault's keys under a seed."""
        return first_path(self.kind, self.network)


def first_path(kind: Kind, network: Network) -> str:
    """Return the first account path of a kind of wallet, with the network's coin type (SLIP-44)."""
    return _PATH[kind].format(coin=network.coin)


def read_terms(settings: Mapping[str, str]) -> WalletTerms:
    """Return the terms of a connection. Raises InputError naming the setting."""
    network = network_of(settings.get(CHAIN, ""))
    try:
        kind = Kind(settings.get(SCRIPT, Kind.WSH.value))
    except ValueError:
        raise InputError(f"{SCRIPT} is one of {', '.join(Kind)}", field=SCRIPT) from None
    if kind.is_single:
        _require_alone(settings, kind)
        return WalletTerms(network, kind, 1, 1, ())
    threshold, ours = (_number(settings, name) for name in (THRESHOLD, VAULT_KEYS))
    others = tuple(Cosigner.parse(text, network) for text in settings.get(OTHER_KEYS, "").split())
    if ours + len(others) > MAX_KEYS or threshold > ours + len(others):
        raise InputError(
            f"{threshold} of {ours + len(others)} keys cannot be: at most {MAX_KEYS} keys, no more needed than there are",
            field=THRESHOLD,
        )
    return WalletTerms(network, kind, threshold, ours, others)


def _require_alone(settings: Mapping[str, str], kind: Kind) -> None:
    for name, only in ((THRESHOLD, "1"), (VAULT_KEYS, "1"), (OTHER_KEYS, "")):
        if settings.get(name, only) != only:
            raise InputError(f"a wallet of kind {kind.value} has one key, the vault's: leave {name} out", field=name)


def _number(settings: Mapping[str, str], name: str) -> int:
    text = settings.get(name, "")
    if not text.isdigit() or not 1 <= int(text[:4]) <= MAX_KEYS:
        raise InputError(f"{name} is a number from 1 to {MAX_KEYS}", field=name)
    return int(text)


class WalletUse(StrEnum):
    """A prepared wallet receives nothing yet; a replaced one is watched no more."""

    PREPARED = "prepared"
    CURRENT = "current"
    REPLACED = "replaced"


@dataclass(frozen=True, slots=True)
class BitcoinWallet:
    """One descriptor of an account; a re-keyed account has several, by `number`."""

    account_id: AccountId
    number: int
    descriptor: Descriptor
    signers: Mapping[str, str]
    """Master fingerprint of each key of the vault's → the vault wallet that holds its seed."""
    use: WalletUse
    step_key: str
    """Idempotency key of the step that made it; empty for the first."""
    reach: tuple[int, int] = (0, 0)
    """Of each branch, the first index of which no leaf was ever put into the token."""

    @property
    def homes(self) -> frozenset[Home]:
        """Where the vault's keys of it are derived."""
        return frozenset((wallet, self.descriptor.named(owner).path) for owner, wallet in self.signers.items())


class CoinKept(msgspec.Struct, frozen=True, kw_only=True):
    """A coin as it is kept: enough to prove it again."""

    txid: str
    vout: int
    amount: int
    branch: int
    index: int
    is_confirmed: bool = True
    """Whether its making transaction was in a block when it was kept."""
    taken_by: str = ""
    """The transaction of somebody else, in a block, that spent it; empty while it is ours."""

    @classmethod
    def of(cls, coin: Coin, taken_by: str = "") -> "CoinKept":
        """Return what is kept of a coin."""
        return cls(
            txid=coin.at.txid,
            vout=coin.at.vout,
            amount=coin.amount,
            branch=coin.place.branch,
            index=coin.place.index,
            is_confirmed=coin.is_confirmed,
            taken_by=taken_by,
        )

    @property
    def at(self) -> Outpoint:
        """The output's name."""
        return Outpoint(self.txid, self.vout)


@dataclass(frozen=True, slots=True)
class PreparedSweep:
    """The coins of a wallet with the transactions that made them, and the PSBTs that sweep them."""

    account_id: AccountId
    wallet: int
    """`BitcoinWallet.number`."""
    to: str
    """The safe destination's descriptor; the sweep itself verifies the one in force."""
    rate: int
    """Satoshis per 1,000 virtual bytes."""
    tip: int
    coins: tuple[CoinKept, ...]
    made_by: Mapping[str, bytes]
    """Transaction id → its bytes."""
    psbts: tuple[bytes, ...]
    """Unsigned, or signed by the vault as far as it can, which come first."""
    made_at: datetime

    @property
    def held(self) -> tuple[CoinKept, ...]:
        """The coins that are still there."""
        return tuple(one for one in self.coins if not one.taken_by)

    @property
    def taken(self) -> int:
        """Satoshis that others took."""
        return sum(one.amount for one in self.coins if one.taken_by)

    def proven(self, descriptor: Descriptor) -> list[Coin]:
        """Return the coins held, each proven by what made it; those that are not the wallet's are left out."""
        found: list[Coin] = []
        for kept in self.held:
            try:
                coin = proven(kept.at, self.made_by.get(kept.txid, b""), descriptor, kept.branch, kept.index)
            except InputError:
                continue
            found.append(replace(coin, is_confirmed=kept.is_confirmed))
        return found
