"""Sweeps that the vault has signed as far as it can, and that wait for other people's signatures.

Rules: a half-signed PSBT stands in the prepared sweep until one of its coins is spent by something else: what people are
signing must not change under their hands, so its coins go into no other draft meanwhile. It is renewed only by a sweep
that is asked for after fees have risen by half. A row alone is never believed: a PSBT counts as half-signed only where each
input has a signature of the vault's own key, over this very draft to the destination in force.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from service.domain.bitcoin.coins import Coin, Outpoint
from service.domain.bitcoin.psbt import read_kept, spent_in, txid_in
from service.domain.bitcoin.sweep import Draft
from service.domain.bitcoin.wallet import BitcoinWallet, PreparedSweep
from service.domain.errors import InputError
from service.domain.ids import AccountId
from service.ports.store.unit import UnitOfWork
from service.vault.bitcoin_coins import Situation


@dataclass(frozen=True, slots=True)
class Half:
    """One half-signed PSBT, and what it is a draft of."""

    psbt: bytes
    txid: str
    draft: Draft
    lacks: str
    """How many signatures it has, and how many it needs."""


def halves_of(wallet: BitcoinWallet, psbts: Iterable[bytes], now: Situation, to: bytes) -> tuple[Half, ...]:
    """Return those of the kept PSBTs that the vault has signed, and whose coins are free or spent by just them."""
    free = {coin.at: coin for coin in now.free}
    found: list[Half] = []
    for psbt in psbts:
        for coins, by in ((free, ""), *(({c.at: c for c in one.coins}, one.txid) for one in now.contests)):
            half = _half(wallet, psbt, coins, to)
            if half is not None and by in ("", half.txid):
                found.append(half)
                break
    return tuple(found)


def coins_of(halves: Iterable[Half]) -> frozenset[Outpoint]:
    """Return what half-signed PSBTs spend."""
    return frozenset(coin.at for half in halves for coin in half.draft.coins)


def ids_of(psbts: Iterable[bytes]) -> frozenset[str]:
    """Return the ids of the transactions of PSBTs; what is no PSBT has none."""
    found = set()
    for psbt in psbts:
        with suppress(InputError):
            found.add(txid_in(psbt))
    return frozenset(found)


def without(now: Situation, halves: Sequence[Half]) -> Situation:
    """Return a situation without the coins that wait for others' signatures, and without their own transactions."""
    waiting, own = coins_of(halves), {half.txid for half in halves}
    free = tuple(coin for coin in now.free if coin.at not in waiting)
    return replace(now, free=free, contests=tuple(one for one in now.contests if one.txid not in own))


def keep_half(uow: UnitOfWork, account: AccountId, number: int, psbt: bytes) -> None:
    """Put a PSBT with the vault's signatures into what is kept ready, in the place of all that spend one of its coins."""
    uow.lock(prepared_lock(account))
    ready = uow.bitcoin.prepared(account)
    if ready is not None and ready.wallet == number:
        apart = (one for one in ready.psbts if _is_apart(one, spent_in(psbt)))
        uow.bitcoin.keep(replace(ready, psbts=(psbt, *apart)))


def keep_ready(uow: UnitOfWork, ready: PreparedSweep, before: PreparedSweep | None) -> PreparedSweep:
    """Keep a sweep that was made ready while `before` was kept, and return it; what was signed meanwhile stands instead."""
    uow.lock(prepared_lock(ready.account_id))
    now = uow.bitcoin.prepared(ready.account_id)
    if now is not None and now.wallet == ready.wallet and now.psbts != (() if before is None else before.psbts):
        return now
    uow.bitcoin.keep(ready)
    return ready


def prepared_lock(account: AccountId) -> str:
    """Return the name of the lock under which what is kept ready of an account is changed."""
    return f"prepared-sweep:{account}"


def _is_apart(psbt: bytes, coins: frozenset[Outpoint]) -> bool:
    try:
        return not spent_in(psbt) & coins
    except InputError:
        return False


def _half(wallet: BitcoinWallet, psbt: bytes, coins: dict[Outpoint, Coin], to: bytes) -> Half | None:
    try:
        unsigned, signatures = read_kept(psbt, wallet.descriptor, coins, to)
    except InputError:
        return None
    inputs = unsigned.draft.coins
    ours = {one.input for one in signatures if inputs[one.input].place.keys[one.key].fingerprint in wallet.signers}
    if len(ours) != len(inputs):
        return None
    each = min(Counter(one.input for one in signatures).values())
    lacks = f"an input has {each} of {wallet.descriptor.threshold} signatures"
    return Half(psbt, unsigned.txid, unsigned.draft, lacks)
