"""Planning a sweep: which coins go into which transaction, at what fee, and when it beats another one.

Rules: every coin that is worth at least `WORTH` times what moving it costs is swept, the largest first, in transactions of
at most `MAX_INPUTS` inputs and one output; what is left is told, never hidden. Coins in no block come last, those of each
making transaction apart: one that is replaced, or too deep in a chain of unconfirmed ones, then stops no other coin. Sizes
are upper bounds (BIP-141 weights, a signature at its longest), so the rate is never below what was asked. No fee is above
`MAX_RATE`, nor above a quarter of what a transaction moves: a lying fee estimate or a thief who bids cannot make us burn
the rest. Every input signals replacement (BIP-125). To replace, a transaction pays all fees of what it replaces and its own
relay besides (BIP-125 rules 3 and 4), and a higher rate; a child pays for its parent so that both together have the rate
(CPFP).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.bitcoin.coins import Coin
from service.domain.bitcoin.descriptor import Descriptor, Kind, Place
from service.domain.bitcoin.network import Network, payable
from service.domain.errors import InputError

MAX_INPUTS: Final = 200
MAX_TRANSACTIONS: Final = 20
"""Of one plan: 4,000 coins. The next plan takes what is left."""
MAX_COINS: Final = 100_000
WORTH: Final = 2
MAX_RATE: Final = 1_000_000
"""Satoshis per 1,000 virtual bytes: 1,000 sat/vB."""
MIN_RATE: Final = 1_000
"""What nodes relay at all, and what a replacement pays for its own relay."""
MAX_SHARE: Final = 4
"""A fee is at most one part in so many of what the transaction moves."""
REPLACEABLE: Final = 0xFFFFFFFD
_DUST: Final = 546
_SIGNATURE: Final = 73
"""Of ECDSA in DER with its hash type, at its longest."""
_SCHNORR: Final = 65
"""With the byte that tells its length."""


@dataclass(frozen=True, slots=True)
class Draft:
    """One transaction to be signed: its inputs in order, and one output that takes everything but the fee."""

    coins: tuple[Coin, ...]
    to: bytes
    """The output script of the safe destination."""
    amount: int
    fee: int
    vsize: int
    """Virtual bytes, an upper bound."""

    @property
    def rate(self) -> int:
        """Satoshis per 1,000 virtual bytes."""
        return self.fee * 1_000 // self.vsize


@dataclass(frozen=True, slots=True)
class Plan:
    """The transactions of one sweep, and what is not in them."""

    drafts: tuple[Draft, ...]
    dust: tuple[Coin, ...]
    """Coins that are worth less than twice the fee of moving them."""
    later: tuple[Coin, ...]
    """Coins beyond `MAX_TRANSACTIONS`: the next plan takes them."""


@dataclass(frozen=True, slots=True)
class Rival:
    """What is in the way of a sweep: unconfirmed transactions that spend some of the same coins."""

    fees: int
    """Of all that would be replaced, descendants included."""
    rate: int
    """The highest of those that are replaced directly."""


def plan(descriptor: Descriptor, coins: Sequence[Coin], to: bytes, rate: int) -> Plan:
    """Return the transactions that sweep `coins` at `rate` satoshis per 1,000 vB. Raises InputError out of range."""
    rate = checked_rate(rate)
    if len(coins) > MAX_COINS:
        raise InputError(f"a plan takes at most {MAX_COINS} coins: give the largest first", field="coins")
    each = _input_weight(descriptor.kind, descriptor.threshold, coins[0].place) if coins else 0
    worth = [coin for coin in coins if coin.amount * 4_000 >= WORTH * each * rate]
    worth.sort(key=lambda coin: (-coin.amount, coin.at))
    drafts: list[Draft] = []
    dust = [coin for coin in coins if coin.amount * 4_000 < WORTH * each * rate]
    batches = _batches(worth)
    for batch in batches[:MAX_TRANSACTIONS]:
        found = draft(descriptor, batch, to, rate)
        if found is None:
            dust.extend(batch)
        else:
            drafts.append(found)
    return Plan(tuple(drafts), tuple(dust), tuple(coin for batch in batches[MAX_TRANSACTIONS:] for coin in batch))


def _batches(coins: Sequence[Coin]) -> list[tuple[Coin, ...]]:
    """Split coins, in their order, into those of one transaction each: confirmed together, others by what made them."""
    groups: dict[str, list[Coin]] = {"": [coin for coin in coins if coin.is_confirmed]}
    for coin in coins:
        if not coin.is_confirmed:
            groups.setdefault(coin.at.txid, []).append(coin)
    return [
        tuple(group[start : start + MAX_INPUTS])
        for group in groups.values()
        for start in range(0, len(group), MAX_INPUTS)
    ]


def draft(
    descriptor: Descriptor, coins: tuple[Coin, ...], to: bytes, rate: int, rival: Rival | None = None
) -> Draft | None:
    """Return one transaction, or None when its fee would be over the limits or leave less than dust.

    With a rival it pays what replacing it takes.
    """
    size = vsize(descriptor, coins, to)
    fee = _at(checked_rate(rate), size)
    if rival is not None:
        fee = max(fee, rival.fees + _at(MIN_RATE, size), _at(rival.rate + 1, size))
    total = sum(coin.amount for coin in coins)
    if fee > total // MAX_SHARE or fee > _at(MAX_RATE, size) or total - fee < _DUST:
        return None
    return Draft(coins, to, total - fee, fee, size)


def child(descriptor: Descriptor, parent: Draft, coin: Coin, to: bytes, rate: int) -> Draft | None:
    """Return the transaction that spends the parent's output so that both have `rate` (CPFP), or None as `draft`."""
    size = vsize(descriptor, (coin,), to)
    lacking = max(0, _at(checked_rate(rate), parent.vsize) - parent.fee)
    return draft(descriptor, (coin,), to, rate, Rival(lacking + _at(rate, size) - _at(MIN_RATE, size), 0))


def vsize(descriptor: Descriptor, coins: Sequence[Coin], to: bytes) -> int:
    """Return the virtual size of a transaction of these inputs and one output: at most this."""
    inputs = sum(_input_weight(descriptor.kind, descriptor.threshold, coin.place) for coin in coins)
    fixed = 4 * (4 + 4 + _count(len(coins)) + 1) + 2
    output = 4 * (8 + _count(len(to)) + len(to))
    return -(-(fixed + inputs + output) // 4)


def checked_rate(rate: int) -> int:
    """Return a rate in satoshis per 1,000 vB, raised to what is relayed. Raises InputError over `MAX_RATE`."""
    if not 0 <= rate <= MAX_RATE:
        raise InputError(
            f"a fee rate of {rate / 1_000:g} sat/vB is over the limit of {MAX_RATE // 1_000}: compare with another source",
            field="rate",
        )
    return max(rate, MIN_RATE)


def destination(text: str, network: Network) -> bytes:
    """Return the output script of a safe destination: an address, or a wallet's first address. Raises InputError."""
    if "(" in text:
        return Descriptor.parse(text, network).place(0, 0).script_pubkey
    return payable(text, network)


def _at(rate: int, size: int) -> int:
    return -(-rate * size // 1_000)


def _input_weight(kind: Kind, threshold: int, place: Place) -> int:
    shown = sum(_count(len(item)) + len(item) for item in place.shown)
    if kind.is_taproot:
        signatures = threshold * _SCHNORR + len(place.keys) - threshold
    else:
        extra = 0 if kind.is_single else 1
        signatures = extra + threshold * (1 + _SIGNATURE)
    return 4 * (36 + 1 + 4) + 1 + signatures + shown


def _count(number: int) -> int:
    """Return how many bytes a count takes (compact size)."""
    return 1 if number < 0xFD else 3  # noqa: PLR2004  Bitcoin's compact size
