"""What a Bitcoin wallet holds, what is under way, and what stands in the way: asked of the chain, proven, bounded.

Rules: addresses are looked through on both branches until `GAP` in a row were never used, at most `MOST_ADDRESSES`; a coin
counts only with the transaction that made it. A coin that we registered and the endpoint no longer lists is forgotten only
when the chain has its making transaction no more (it was replaced); else what spends it decides, and an unconfirmed thief is
a rival, not a fact. What a rival's replacement must pay is followed down
its descendants as far as `MOST_DESCENDANTS`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

from service.domain.bitcoin.coins import Coin, Outpoint, parsed, proven, spends
from service.domain.bitcoin.descriptor import CHANGE, RECEIVE, Descriptor
from service.domain.bitcoin.sweep import MAX_COINS, Rival
from service.domain.bitcoin.wallet import BitcoinWallet
from service.domain.errors import InputError, NotFoundError, UnavailableError
from service.ports.chain import BitcoinChain, Unspent

GAP: Final = 20
MOST_ADDRESSES: Final = 1_000
"""Of one branch."""
MOST_DESCENDANTS: Final = 100
"""A node replaces no more than so many transactions at once (BIP-125 rule 5)."""
MOST_PROVEN: Final = 4_000
"""Coins that one plan can move: the largest are proven first."""


@dataclass(frozen=True, slots=True)
class Contest:
    """Coins of ours that an unconfirmed transaction of somebody else spends, and what replacing it takes."""

    txid: str
    coins: tuple[Coin, ...]
    rival: Rival


@dataclass(frozen=True, slots=True)
class Situation:
    """A wallet's coins as they stand now."""

    free: tuple[Coin, ...]
    contests: tuple[Contest, ...]
    gone: tuple[tuple[Coin, str], ...]
    """In a block, spent by somebody else: lost; each with the id of what spent it."""


def scan(chain: BitcoinChain, descriptor: Descriptor, known: Sequence[Coin] = ()) -> list[Coin]:
    """Return the wallet's unspent coins, the largest first; those in `known` are not fetched again.

    Raises UnavailableError when the endpoint does not answer, or tells of a coin that is not what it says.
    """
    told: list[tuple[Unspent, int, int]] = []
    for branch in (RECEIVE, CHANGE):
        for index, address in _used(chain, descriptor, branch):
            told.extend((one, branch, index) for one in chain.unspent(address))
            if len(told) > MAX_COINS:
                raise UnavailableError(f"the wallet has over {MAX_COINS} coins: sweep the largest by hand first")
    told.sort(key=lambda one: (-one[0].amount, one[0].txid, one[0].vout))
    have = {coin.at.text: coin for coin in known}
    made_by: dict[str, bytes] = {}
    found: list[Coin] = []
    for one, branch, index in told[:MOST_PROVEN]:
        coin = have.get(f"{one.txid}:{one.vout}") or _proven(chain, descriptor, (one, branch, index), made_by)
        found.append(replace(coin, is_confirmed=one.height is not None))
        if found[-1].amount != one.amount:
            raise UnavailableError(f"the chain's endpoint lies about the amount of {found[-1].at.text}")
    return found


def spent_by(chain: BitcoinChain, wallet: BitcoinWallet, raw: bytes) -> tuple[Coin, ...]:
    """Return the coins that a transaction of ours spends, proven again; the wallet's reach says where to look.

    Those whose making transaction the chain has no more are left out. Raises UnavailableError when the endpoint does
    not answer.
    """
    places = {
        wallet.descriptor.place(branch, index).script_pubkey: (branch, index)
        for branch, end in enumerate(wallet.reach)
        for index in range(end)
    }
    found = []
    for outpoint in spends(parsed(raw)):
        try:
            made_by = chain.transaction(outpoint.txid)
        except NotFoundError:
            continue
        place = places.get(bytes(parsed(made_by).vout[outpoint.vout].script_pubkey.data))
        if place is not None:
            found.append(proven(outpoint, made_by, wallet.descriptor, *place))
    return tuple(found)


def situation(chain: BitcoinChain, coins: Sequence[Coin], ours: frozenset[str], listed: frozenset[str]) -> Situation:
    """Sort registered coins by what spends them; `ours` are ids of our own transactions, `listed` coins known as unspent.

    Coins whose making transaction the chain has no more are in no part of what is returned. Raises UnavailableError when the
    endpoint does not answer, or calls a coin spent by a transaction that does not spend it.
    """
    free: list[Coin] = []
    gone: list[tuple[Coin, str]] = []
    taken: dict[str, list[Coin]] = {}
    depths: dict[str, int | None] = {}
    for coin in coins:
        if coin.at.text in listed:
            free.append(coin)
            continue
        spender = chain.spender(coin.at.txid, coin.at.vout)
        if spender is None:
            if coin.at.txid not in depths:
                depths[coin.at.txid] = chain.depth(coin.at.txid)
            depth = depths[coin.at.txid]
            if depth is not None:
                free.append(replace(coin, is_confirmed=depth > 0))
        elif spender.txid in ours:
            continue
        elif spender.height is not None:
            _require_spent(chain, coin, spender.txid)
            gone.append((coin, spender.txid))
        else:
            taken.setdefault(spender.txid, []).append(coin)
    contests = []
    for txid, group in taken.items():
        rival = rival_of(chain, txid)
        if rival is not None:
            contests.append(Contest(txid, tuple(group), rival))
    return Situation(tuple(free), tuple(contests), tuple(gone))


def _require_spent(chain: BitcoinChain, coin: Coin, by: str) -> None:
    try:
        found = spends(parsed(chain.transaction(by)))
    except (InputError, NotFoundError) as error:
        raise UnavailableError(f"the chain's endpoint has not what it says spent {coin.at.text}: {error}") from error
    if coin.at not in found:
        raise UnavailableError(f"the chain's endpoint lies: {by} does not spend {coin.at.text}")


def rival_of(chain: BitcoinChain, txid: str) -> Rival | None:
    """Return what replacing an unconfirmed transaction takes; None when it is in a block, or nowhere any more."""
    first = chain.pooled(txid)
    if first is None:
        return None
    fees, seen, waiting = 0, {txid}, [txid]
    while waiting:
        name = waiting.pop()
        found = first if name == txid else chain.pooled(name)
        if found is None:
            continue
        fees += found.fee
        for child in _children(chain, name):
            if child not in seen and len(seen) <= MOST_DESCENDANTS:
                seen.add(child)
                waiting.append(child)
    return Rival(fees, first.fee * 4_000 // first.weight)


def _children(chain: BitcoinChain, txid: str) -> Iterator[str]:
    try:
        outputs = len(parsed(chain.transaction(txid)).vout)
    except (NotFoundError, InputError):
        return
    for vout in range(min(outputs, MOST_DESCENDANTS)):
        spender = chain.spender(txid, vout)
        if spender is not None:
            yield spender.txid


def _used(chain: BitcoinChain, descriptor: Descriptor, branch: int) -> Iterator[tuple[int, str]]:
    unused = 0
    for index in range(MOST_ADDRESSES):
        address = descriptor.address(branch, index)
        if chain.used(address):
            unused = 0
            yield index, address
        else:
            unused += 1
            if unused >= GAP:
                return


def _proven(
    chain: BitcoinChain, descriptor: Descriptor, told: tuple[Unspent, int, int], made_by: dict[str, bytes]
) -> Coin:
    one, branch, index = told
    try:
        if one.txid not in made_by:
            made_by[one.txid] = chain.transaction(one.txid)
        return proven(Outpoint(one.txid, one.vout), made_by[one.txid], descriptor, branch, index)
    except (InputError, NotFoundError) as error:
        raise UnavailableError(f"the chain's endpoint tells of a coin that is none: {error}") from error
