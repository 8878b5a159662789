"""Moving everything an account's keys hold to its verified safe destination.

Rules: every transaction is signed and its row committed before it is sent, so that after a crash or a lost answer the
very same bytes are sent again or their receipt is asked for; a nonce that somebody else used (the thief has the key too)
makes that transaction fail and a new round begin at the next nonce, with twice the fee. One that a reorganisation took out
of its block is sent again as it is while its nonce is free: that takes no key, and pays once. Tokens go first, the native
coin last, because it pays for them. Pending transactions of others are outbid at their nonce; while one of ours is pending
no second is signed. What is worth sending, and with how much gas, is `vault/payments.py`'s; a chain that refuses a gas limit
is offered twice as much, and after any other refusal the fee of moving the coin is kept twice: what that was not needed for
is swept by the next attempt while it is worth its fee.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from hsm.restrictions import Sweep
from hsm.statements import VerifiedDestination
from service.domain.errors import (
    ApprovalError,
    ConflictError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.evm import Fee, gas_of, transaction_hash
from service.domain.ids import AccountId, new_id
from service.domain.plan import Verdict
from service.domain.timeline import Entry
from service.domain.vault import SweepState, SweepTransaction, VaultKey
from service.vault.destinations import give_up, is_lost, verified_destination
from service.vault.entries import move_sweep
from service.vault.parts import VaultParts
from service.vault.payments import Found, Payment, Source, Terms, fee_of, find, sources

ROUNDS: Final = 6
"""How often a sweep starts again when the thief used the nonce first, or the chain wants more."""
_WANTS_GAS: Final = "intrinsic gas"
"""In what a node says of a transaction whose gas limit it does not take at all."""


def sweep(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], step_key: str) -> Sequence[str]:
    """Send what the keys' addresses hold; returns what stays because it is not worth its fee, as sentences.

    A chain's destination is verified once, and again where it is lost before the next address is begun. One that becomes
    active meanwhile counts from the next sweep.

    Raises ApprovalError when no safe destination verifies, UnavailableError when something was left for later, and what
    the chain raises.
    """
    left: list[str] = []
    rests: list[str] = []
    to: dict[str, VerifiedDestination] = {}
    for source in sources(parts, account, keys):
        chain = source.chain_id
        if chain not in to or is_lost(parts, to[chain]):
            to[chain] = verified_destination(parts, account, chain)
        raised, gas_times = 0, 1
        for _ in range(ROUNDS):
            found = _round(source, to[chain], step_key, raised, gas_times)
            if isinstance(found, Found):
                left.extend(found.left)
                rests.extend(filter(None, [found.rest]))
                break
            if _WANTS_GAS in found.lower():
                gas_times *= 2
            else:
                raised += 1
    if left:
        raise UnavailableError(f"{'; '.join(left)}: the rest was swept")
    return rests


def send_dropped(parts: VaultParts, account: AccountId) -> None:
    """Send again what was in a block and is in none, where its nonce is free. Raises what the chain raises."""
    for row in _dropped(parts, account):
        if give_up(parts, row):
            continue
        move_sweep(parts, row, SweepState.SIGNED)
        try:
            parts.chain(row.chain).send(row.raw_transaction)
        except RefusedByOtherSideError as refused:
            if not parts.chain(row.chain).knows(row.transaction_hash):
                move_sweep(parts, row, SweepState.FAILED, str(refused))
            continue
        move_sweep(parts, row, SweepState.SENT)


def _dropped(parts: VaultParts, account: AccountId) -> list[SweepTransaction]:
    settled = [s for s in _rows(parts, account) if s.state is SweepState.FINAL]
    return [
        row
        for row in settled
        if parts.chain(row.chain).mined_nonce(row.from_address) <= row.nonce
        and parts.chain(row.chain).mined(row.transaction_hash) is None
    ]


def swept(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> Verdict:
    """Say whether every sweep transaction is final and nothing worth its fee is left."""
    rows = _rows(parts, account)
    sent = [s for s in rows if s.state in (SweepState.SIGNED, SweepState.SENT)]
    settled = [_settle(parts, s) for s in sent]
    if not all(settled):
        # Signed but unknown to the chain: nothing is under way, so the same bytes may be sent.
        lost = any(s.state is SweepState.SIGNED and not parts.chain(s.chain).knows(s.transaction_hash) for s in sent)
        return Verdict.DOES_NOT_HOLD if lost else Verdict.CANNOT_TELL
    found = [find(source, terms, rows) for source, terms in _questions(parts, account, keys)]
    if any(f.worth for f in found) or _dropped(parts, account):
        return Verdict.DOES_NOT_HOLD
    return Verdict.CANNOT_TELL if any(f.unread for f in found) else Verdict.HOLDS


def holdings(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> dict[str, str]:
    """Return what a sweep would move now: CAIP-19 → base units, over all addresses."""
    total: dict[str, int] = {}
    rows = _rows(parts, account)
    for source, terms in _questions(parts, account, keys):
        for payment in find(source, terms, rows).worth:
            total[payment.asset] = total.get(payment.asset, 0) + payment.amount
    return {asset: str(amount) for asset, amount in sorted(total.items())}


def _rows(parts: VaultParts, account: AccountId) -> Sequence[SweepTransaction]:
    with parts.db.begin() as uow:
        return uow.keys.sweeps(account)


def _questions(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> Iterator[tuple[Source, Terms]]:
    """Yield each source with the terms of a first attempt, for questions only; a chain's destination is verified once."""
    to: dict[str, str | None] = {}
    for source in sources(parts, account, keys):
        if source.chain_id not in to:
            to[source.chain_id] = _destination(parts, account, source.chain_id)
        yield source, Terms(fee_of(source), to[source.chain_id])


def _destination(parts: VaultParts, account: AccountId, chain: str) -> str | None:
    """Return what verifies; a chain without a verified destination is asked, too."""
    try:
        return verified_destination(parts, account, chain).destination.descriptor
    except ApprovalError:
        return None


def _round(source: Source, destination: VerifiedDestination, step_key: str, raised: int, gas_times: int) -> Found | str:
    """Send what is signed but unsent, then what is still there; the chain's refusal when another round is needed."""
    mine = [s for s in source.of(_rows(source.parts, source.key.account_id)) if not _is_given_up(source, s)]
    refused = [why for s in mine if s.state is SweepState.SIGNED and (why := _send(source, s)) is not None]
    if refused:
        return refused[0]
    settled = [_settle(source.parts, s) for s in mine if s.state in (SweepState.SIGNED, SweepState.SENT)]
    if not all(settled):
        return Found()
    terms = Terms(
        fee=fee_of(source).times(2**raised),
        to=destination.destination.descriptor,
        step_key=step_key,
        gas_times=gas_times,
        spare=raised > 0,
    )
    found = find(source, terms, mine)
    nonce = source.chain.mined_nonce(source.address)
    for payment in found.worth:
        if payment.vain:
            continue
        row = _signed(source, destination, payment, (nonce, terms.fee), step_key)
        if (why := _send(source, row)) is not None:
            return why
        nonce += 1
    return found


def _signed(
    source: Source, destination: VerifiedDestination, payment: Payment, at: tuple[int, Fee], step_key: str
) -> SweepTransaction:
    asset, amount = payment.asset, payment.amount
    to = destination.destination.descriptor
    transaction = payment.transaction(source, to, *at)
    request = Sweep(source.key.account_id, source.chain_id, asset, to, destination)
    signature = source.parts.sign(source.key, request, transaction.digest())
    raw = transaction.signed(signature.v, signature.r, signature.s)
    row = SweepTransaction(
        id=new_id("swp"),
        step_key=step_key,
        account_id=source.key.account_id,
        chain=source.chain_id,
        from_address=source.address,
        to_address=to,
        asset=asset,
        amount_base_units=amount,
        nonce=transaction.nonce,
        raw_transaction=raw,
        transaction_hash=transaction_hash(raw),
        state=SweepState.SIGNED,
    )
    facts = {"hash": row.transaction_hash, "nonce": row.nonce, "asset": asset, "amount": str(amount)}
    with source.parts.db.begin() as uow:
        try:
            uow.keys.add_sweep(row)
        except ConflictError as error:
            raise UnavailableError("another worker is sweeping the same address: it goes on") from error
        sentence = f"Sweep signed: {amount} of {asset} to {to}"
        uow.record(Entry(kind="sweep.signed", at=uow.now, subject=row.id, sentence=sentence, facts=facts))
    return row


def _send(source: Source, row: SweepTransaction) -> str | None:
    """Send one signed transaction; the chain's words when it can never be mined and a new round must replace it."""
    try:
        source.chain.send(row.raw_transaction)
    except RefusedByOtherSideError as refused:
        if source.chain.mined(row.transaction_hash) is None:
            move_sweep(source.parts, row, SweepState.FAILED, str(refused))
            _require_fee(source, row)
            return str(refused)
    except UnknownOutcomeError:
        if source.chain.mined(row.transaction_hash) is None and not source.chain.knows(row.transaction_hash):
            raise
    move_sweep(source.parts, row, SweepState.SENT)
    return None


def _is_given_up(source: Source, row: SweepTransaction) -> bool:
    unsent = row.state is SweepState.SIGNED and not source.chain.knows(row.transaction_hash)
    return unsent and source.chain.mined(row.transaction_hash) is None and give_up(source.parts, row)


def _require_fee(source: Source, row: SweepTransaction) -> None:
    """Raise UnavailableError when a token cannot be moved because the address has no coin to pay for it."""
    needed = source.chain.fee().max_fee * gas_of(row.raw_transaction)
    if row.asset != source.native and source.chain.balance(source.address) < needed:
        raise UnavailableError(
            f"{source.address} cannot pay for moving {row.asset}: send it {needed} base units of the coin"
        )


def _settle(parts: VaultParts, row: SweepTransaction) -> bool:
    """Ask for the receipt of a sent transaction; True when it is final, one way or the other."""
    chain = parts.chain(row.chain)
    try:
        used = chain.mined_nonce(row.from_address) > row.nonce
        mined = chain.mined(row.transaction_hash)
    except UnavailableError:
        return False
    if mined is None and not used:
        return False
    if mined is None:
        move_sweep(parts, row, SweepState.FAILED, "another transaction took its nonce")
    else:
        move_sweep(parts, row, SweepState.FINAL if mined.succeeded else SweepState.FAILED, "it was reverted")
    return True
