"""Sweeping a Bitcoin wallet to its verified safe destination, and keeping that sweep ready beforehand.

Rules: a sweep is made ready while nothing is wrong (unsigned, to the destination in force, its coins proven), so that the
first transactions of an emergency need no scan. Every transaction is signed and its row committed before it is sent; what
the chain does not know is sent again byte for byte; what it replaced stays on watch until one of them is buried
`FINAL_DEPTH` deep. Coins that a thief's unconfirmed transaction spends go into a replacement that outbids it, up to the
limits of `domain/bitcoin/sweep.py`, and apart from the others, which need no bidding. Our own is replaced (BIP-125) when the
rate has risen by half, and where the old keys may no longer sign, a child from the new wallet pays for it (CPFP). Where
other people must sign, too, every transaction is signed as far as the vault can and kept for them (`bitcoin_halves.py`).
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Final

import structlog

from hsm.restrictions import Sweep
from hsm.statements import VerifiedDestination
from service.domain.bitcoin.coins import Coin, Outpoint, parsed, proven, spends, txid_of
from service.domain.bitcoin.psbt import Unsigned, write
from service.domain.bitcoin.sweep import Draft, child, destination, draft, plan, vsize
from service.domain.bitcoin.wallet import BitcoinWallet, CoinKept, PreparedSweep
from service.domain.errors import (
    ConflictError,
    ForbiddenError,
    InputError,
    MissingCapabilityError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.ids import AccountId, new_id
from service.domain.plan import Verdict
from service.domain.timeline import Entry
from service.domain.vault import SweepState, SweepTransaction
from service.ports.chain import BitcoinChain
from service.vault.bitcoin_coins import MOST_PROVEN, Situation, rival_of, scan, situation, spent_by
from service.vault.bitcoin_halves import Half, coins_of, halves_of, ids_of, keep_half, keep_ready, without
from service.vault.bitcoin_keys import cosign
from service.vault.bitcoin_wallets import note_addresses, wallets_of
from service.vault.destinations import give_up, verified_destination
from service.vault.entries import move_sweep
from service.vault.parts import VaultParts

FINAL_DEPTH: Final = 2
"""Blocks: with one alone, a rival can still take its place in a reorganisation of the newest block."""
TARGET_BLOCKS: Final = 1
RISEN: Final = 3, 2
"""Our own transaction is replaced when the rate is three halves of what it pays."""
_WATCHED: Final = (SweepState.SIGNED, SweepState.SENT)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Errand:
    """One account's sweep: whose, where to, over which chain, under which step."""

    parts: VaultParts
    wallet: BitcoinWallet
    safe: VerifiedDestination
    step_key: str

    @property
    def account(self) -> AccountId:
        """Whose sweep it is."""
        return self.wallet.account_id

    @property
    def chain(self) -> BitcoinChain:
        """The wallet's network."""
        return self.parts.bitcoin_chain(self.wallet.descriptor.network.chain)

    @property
    def to(self) -> bytes:
        """The safe destination's output script. Raises InputError for one that is none of this network."""
        return destination(self.safe.destination.descriptor, self.wallet.descriptor.network)

    @property
    def request(self) -> Sweep:
        """What the keys are asked for."""
        network = self.wallet.descriptor.network
        return Sweep(self.account, network.chain, network.asset, self.safe.destination.descriptor, self.safe)

    def tip(self) -> int:
        """Return the chain's height. Raises UnavailableError when it is below what was told before."""
        with self.parts.db.begin() as uow:
            ready = uow.bitcoin.prepared(self.account)
        tip = self.chain.tip()
        if ready is not None and tip < ready.tip:
            raise UnavailableError(
                f"the chain's endpoint went back from block {ready.tip} to {tip}: it is behind or lies; compare it with"
                " another endpoint"
            )
        return tip

    def registered(self) -> list[Coin]:
        """Return the coins that are kept ready, each proven."""
        ready = self.ready()
        return [] if ready is None else ready.proven(self.wallet.descriptor)

    def ready(self) -> PreparedSweep | None:
        """Return what is kept ready for the wallet."""
        with self.parts.db.begin() as uow:
            ready = uow.bitcoin.prepared(self.account)
        return None if ready is None or ready.wallet != self.wallet.number else ready

    def rows(self) -> list[SweepTransaction]:
        """Return the account's sweep transactions on this network that did not fail."""
        with self.parts.db.begin() as uow:
            rows = uow.keys.sweeps(self.account)
        return [r for r in rows if r.chain == self.wallet.descriptor.network.chain and r.state is not SweepState.FAILED]


def errand(parts: VaultParts, wallet: BitcoinWallet, step_key: str) -> Errand:
    """Return what a sweep needs. Raises ApprovalError when no safe destination verifies."""
    chain = wallet.descriptor.network.chain
    return Errand(parts, wallet, verified_destination(parts, wallet.account_id, chain), step_key)


def refresh(task: Errand) -> PreparedSweep:
    """Make the account's sweep ready anew and keep it. Raises what the chain raises; the one before is then kept."""
    descriptor, before = task.wallet.descriptor, task.ready()
    known = [] if before is None else before.proven(descriptor)
    tip = task.tip()
    coins = scan(task.chain, descriptor, known)
    rate = task.chain.rate(TARGET_BLOCKS)
    names = frozenset(coin.at.text for coin in coins)
    # A coin that a pending transaction of somebody else spends is listed no more; forgetting it would give it up.
    missed = situation(task.chain, [c for c in known if c.at.text not in names], _ours(task), frozenset())
    halves = _halves(task, replace(missed, free=(*coins, *missed.free)), before)
    waiting = coins_of(halves)
    found = plan(descriptor, [coin for coin in coins if coin.at not in waiting], task.to, rate)
    moved = [coin for one in (*(half.draft for half in halves), *found.drafts) for coin in one.coins]
    rest = (*missed.free, *(coin for contest in missed.contests for coin in contest.coins))
    moved += [coin for coin in rest if coin.at not in waiting]
    ready = PreparedSweep(
        account_id=task.account,
        wallet=task.wallet.number,
        to=task.safe.destination.descriptor,
        rate=rate,
        tip=tip,
        coins=(*(CoinKept.of(coin) for coin in moved), *_taken(task, missed, names, before)),
        made_by={coin.at.txid: coin.made_by for coin in moved},
        psbts=(*(half.psbt for half in halves), *(write(Unsigned(descriptor, one)) for one in found.drafts)),
        made_at=task.parts.clock.now(),
    )
    with task.parts.db.begin() as uow:
        ready = keep_ready(uow, ready, before)
    note_addresses(task.parts, task.wallet, coins)
    return ready


def _taken(task: Errand, missed: Situation, listed: frozenset[str], before: PreparedSweep | None) -> list[CoinKept]:
    """Return what others took, the largest first: known before, or missed now. What a reorganisation gave back is not."""
    with task.parts.db.begin() as uow:
        ours = {row.transaction_hash for row in uow.keys.sweeps(task.account)}
    ours |= set() if before is None else ids_of(before.psbts)
    known = [] if before is None else [one for one in before.coins if one.taken_by and one.at.text not in listed]
    known += [CoinKept.of(coin, by) for coin, by in missed.gone if by not in ours]
    return sorted(known, key=lambda one: -one.amount)[:MOST_PROVEN]


def sweep(task: Errand) -> None:
    """Send what the wallet holds.

    Raises MissingCapabilityError when others must sign too, UnavailableError when something was left for later, and what
    the chain raises.
    """
    if task.ready() is None and len(task.wallet.signers) < task.wallet.descriptor.threshold:
        refresh(task)  # what others must sign, too, is kept with it
    registered = task.registered()
    rows = task.rows()
    moved = _spent_by(rows)
    fresh = [coin for coin in registered if coin.at not in moved]
    if fresh and not any(row.state in _WATCHED for row in rows):
        # What was made ready goes out before anything is looked for: a thief is looking at the same coins.
        with suppress(UnavailableError):
            _send_all(task, Situation(tuple(fresh), (), ()), task.chain.rate(TARGET_BLOCKS))
    _settle_all(task)
    now, rate = _look(task, registered), task.chain.rate(TARGET_BLOCKS)
    lacking = _send_all(task, now, rate)
    for row in task.rows():
        _hurry(task, row, rate)
    lacking = lacking or next((half.lacks for half in _halves(task, now, task.ready())), "")
    if lacking:
        raise MissingCapabilityError(
            f"{lacking}: the vault has signed what it can; take each PSBT from GET /v1/accounts/{task.account}/sweep,"
            " let the others sign it, and send it"
        )


def swept(task: Errand) -> Verdict:
    """Say whether every sweep transaction is final and nothing worth its fee is left."""
    _settle_all(task)
    now = _look(task, task.registered())
    halves = _halves(task, now, task.ready())
    waits = any(coin.at in coins_of(halves) for coin in now.free)
    if waits or any(True for _ in _drafts(task, without(now, halves), task.chain.rate(TARGET_BLOCKS))):
        return Verdict.DOES_NOT_HOLD
    waiting = [row for row in task.rows() if row.state in _WATCHED]
    if any(row.state is SweepState.SIGNED and task.chain.depth(row.transaction_hash) is None for row in waiting):
        return Verdict.DOES_NOT_HOLD
    return Verdict.CANNOT_TELL if waiting or now.contests else Verdict.HOLDS


def holdings(task: Errand) -> dict[str, str]:
    """Return what a sweep would move now: CAIP-19 → satoshis."""
    ready = refresh(task)
    total = sum(one.amount for one in ready.held)
    return {task.wallet.descriptor.network.asset: str(total)} if total else {}


def _look(task: Errand, registered: Sequence[Coin]) -> Situation:
    """Return where the wallet's coins stand: those listed now, and those we knew that are listed no more."""
    task.tip()
    listed = scan(task.chain, task.wallet.descriptor, registered)
    moved = _spent_by(task.rows())
    free = frozenset(coin.at.text for coin in listed if coin.at not in moved)
    sent = [row for row in task.rows() if row.state in _WATCHED]
    under_way = [coin for row in sent for coin in spent_by(task.chain, task.wallet, row.raw_transaction)]
    every = {coin.at: coin for coin in (*registered, *under_way, *listed)}
    found = situation(task.chain, list(every.values()), _ours(task), free)
    # A coin of a transaction of ours that nobody lists yet is under way; `_settle` sends that one again if it must.
    return replace(found, free=tuple(coin for coin in found.free if coin.at not in moved))


def _spent_by(rows: Iterable[SweepTransaction]) -> frozenset[Outpoint]:
    return frozenset(o for row in rows for o in spends(parsed(row.raw_transaction)))


def _ours(task: Errand) -> frozenset[str]:
    return frozenset(row.transaction_hash for row in task.rows())


def _drafts(task: Errand, now: Situation, rate: int) -> Iterable[Draft]:
    """Yield what is to be signed: the free coins at today's rate, and a bid against each rival that can be outbid."""
    yield from plan(task.wallet.descriptor, now.free, task.to, rate).drafts
    for contest in now.contests:
        bid = draft(task.wallet.descriptor, contest.coins, task.to, rate, contest.rival)
        if bid is not None:
            yield bid
        else:
            log.warning("sweep.outbid", account=task.account, rival=contest.txid, fees=contest.rival.fees)


def _halves(task: Errand, now: Situation, ready: PreparedSweep | None, rate: int = 0) -> tuple[Half, ...]:
    """Return what waits for other people's signatures, and pays enough where the rate is now `rate`."""
    if ready is None or len(task.wallet.signers) >= task.wallet.descriptor.threshold:
        return ()
    found = halves_of(task.wallet, ready.psbts, now, task.to)
    return tuple(half for half in found if rate * RISEN[1] < half.draft.rate * RISEN[0])


def _send_all(task: Errand, now: Situation, rate: int) -> str:
    """Sign all that a sweep needs and send what is whole; return what the rest lacks, or nothing."""
    lacking = ""
    for one in _drafts(task, without(now, _halves(task, now, task.ready(), rate)), rate):
        made = _signed(task, one)
        if isinstance(made, str):
            lacking = made
        else:
            _send(task, made)
    return lacking


def _signed(task: Errand, made: Draft) -> SweepTransaction | str:
    """Sign one draft; where others must sign it, too, keep it for them and return what it lacks."""
    unsigned = Unsigned(task.wallet.descriptor, made)
    signatures = cosign(task.parts, task.wallet, unsigned, task.request)
    try:
        raw = unsigned.whole(signatures)
    except InputError as short:
        with task.parts.db.begin() as uow:
            keep_half(uow, task.account, task.wallet.number, write(unsigned, signatures))
        return str(short)
    return _kept_row(task, made, raw)


def _kept_row(task: Errand, made: Draft, raw: bytes) -> SweepTransaction:
    network, name = task.wallet.descriptor.network, txid_of(parsed(raw))
    with task.parts.db.begin() as uow:
        rows = [row for row in uow.keys.sweeps(task.account) if row.chain == network.chain]
        refused = next((r for r in rows if r.transaction_hash == name and r.state is SweepState.FAILED), None)
        if refused is not None:
            # Signed anew it is the same transaction: what was refused then may be taken now.
            uow.keys.set_sweep_state(refused.id, SweepState.SIGNED)
            return replace(refused, state=SweepState.SIGNED)
    row = SweepTransaction(
        id=new_id("swp"),
        step_key=task.step_key,
        account_id=task.account,
        chain=network.chain,
        from_address=task.wallet.descriptor.address(0, 0),
        to_address=task.safe.destination.descriptor,
        asset=network.asset,
        amount_base_units=made.amount,
        nonce=max((row.nonce for row in rows), default=-1) + 1,
        raw_transaction=raw,
        transaction_hash=name,
        state=SweepState.SIGNED,
    )
    facts = {"hash": row.transaction_hash, "asset": row.asset, "amount": str(row.amount_base_units), "fee": made.fee}
    with task.parts.db.begin() as uow:
        try:
            uow.keys.add_sweep(row)
        except ConflictError as error:
            raise UnavailableError("another worker is sweeping the same wallet: it goes on") from error
        sentence = f"Sweep signed: {made.amount} satoshis in {len(made.coins)} coins to {row.to_address}"
        uow.record(Entry(kind="sweep.signed", at=uow.now, subject=row.id, sentence=sentence, facts=facts))
    return row


def _send(task: Errand, row: SweepTransaction) -> None:
    try:
        task.chain.send(row.raw_transaction)
    except RefusedByOtherSideError as refused:
        if task.chain.depth(row.transaction_hash) is None:
            move_sweep(task.parts, row, SweepState.FAILED, str(refused))
            return
    except UnknownOutcomeError:
        if task.chain.depth(row.transaction_hash) is None:
            raise
    move_sweep(task.parts, row, SweepState.SENT)


def _settle_all(task: Errand) -> None:
    for row in task.rows():
        if row.state in _WATCHED:
            _settle(task, row)


def _settle(task: Errand, row: SweepTransaction) -> None:
    """Ask where a transaction of ours is; send it again when nobody knows it and its coins are still there."""
    depth = task.chain.depth(row.transaction_hash)
    if depth is not None and depth >= FINAL_DEPTH:
        move_sweep(task.parts, row, SweepState.FINAL)
    elif depth is not None:
        if row.state is SweepState.SIGNED:
            move_sweep(task.parts, row, SweepState.SENT)
    else:
        spenders = [task.chain.spender(o.txid, o.vout) for o in spends(parsed(row.raw_transaction))]
        others = [s for s in spenders if s is not None and s.txid != row.transaction_hash]
        if any(s.height is not None and _is_buried(task.chain, s.txid) for s in others):
            move_sweep(task.parts, row, SweepState.FAILED, "another transaction spent its coins")
        elif not others and not give_up(task.parts, row):
            _send(task, row)


def _is_buried(chain: BitcoinChain, txid: str) -> bool:
    depth = chain.depth(txid)
    return depth is not None and depth >= FINAL_DEPTH


def _hurry(task: Errand, row: SweepTransaction, rate: int) -> None:
    """Replace our own transaction when the rate has risen past what it pays."""
    if row.state is not SweepState.SENT or task.chain.depth(row.transaction_hash) != 0:
        return
    rival = rival_of(task.chain, row.transaction_hash)
    if rival is None or rate * RISEN[1] < rival.rate * RISEN[0]:
        return
    mine = spent_by(task.chain, task.wallet, row.raw_transaction)
    if len(mine) != len(spends(parsed(row.raw_transaction))):
        return
    bid = draft(task.wallet.descriptor, mine, task.to, rate, rival)
    if bid is None:
        return
    try:
        replacing = _signed(task, bid)
    except (ForbiddenError, MissingCapabilityError) as error:
        replacing = str(error)
    if isinstance(replacing, str):
        size = vsize(task.wallet.descriptor, mine, task.to)
        _pay_for(task, row, Draft(mine, task.to, row.amount_base_units, rival.fees, size), rate)
    else:
        _send(task, replacing)


def _pay_for(task: Errand, row: SweepTransaction, parent: Draft, rate: int) -> None:
    """Send a child of our transaction from the wallet that receives it, where that is one of ours (CPFP)."""
    receiving = next(
        (w for w in wallets_of(task.parts, task.account) if w.descriptor.place(0, 0).script_pubkey == task.to), None
    )
    if receiving is None or task.chain.spender(row.transaction_hash, 0) is not None:
        return
    coin = proven(Outpoint(row.transaction_hash, 0), row.raw_transaction, receiving.descriptor, 0, 0)
    made = child(receiving.descriptor, parent, coin, task.to, rate)
    if made is not None:
        bumping = replace(task, wallet=receiving)
        paying = _signed(bumping, made)
        if isinstance(paying, str):
            raise MissingCapabilityError(f"a child that pays for the sweep needs other people's signatures: {paying}")
        _send(bumping, paying)
