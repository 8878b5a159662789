"""Moving everything an account's keys hold to its verified safe destination.

Rules: every transaction is signed and its row committed before it is sent, so that after a crash or a lost answer the
very same bytes are sent again or their receipt is asked for; a nonce that somebody else used (the thief has the key too)
makes that transaction fail and a new round begin at the next nonce, with twice the fee. One that a reorganisation took out
of its block is sent again as it is while its nonce is free: that takes no key, and pays once. Tokens go first, the native
coin last, because it pays for them. Pending transactions of others are outbid at their nonce; while one of ours is pending
no second is signed. A token is known by its contract, however its registration spells that. One whose balance cannot be
read delays nothing else, and what it holds is never taken for nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from hsm.restrictions import Sweep
from hsm.statements import VerifiedDestination
from service.domain.assets import spelt_once
from service.domain.errors import (
    ConflictError,
    MissingCapabilityError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.evm import NATIVE_GAS, TOKEN_GAS, Fee, Transaction, chain_number, transaction_hash, transfer_data
from service.domain.ids import AccountId, new_id
from service.domain.plan import Verdict
from service.domain.timeline import Entry
from service.domain.vault import SweepState, SweepTransaction, VaultKey
from service.ports.chain import EvmChain
from service.vault.destinations import verified_destination
from service.vault.entries import move_sweep
from service.vault.parts import VaultParts

ROUNDS: Final = 6
"""How often a sweep starts again when the thief used the nonce first."""
WORTH: Final = 10
"""What is left of the coin is swept while it is at least so many times the fee of moving it."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One address to empty."""

    key: VaultKey
    chain_id: str
    chain: EvmChain
    tokens: tuple[tuple[str, str], ...]
    """(CAIP-19, contract address)."""
    native: str
    """CAIP-19 of the chain's coin."""

    @property
    def address(self) -> str:
        return self.key.address


@dataclass(frozen=True, slots=True)
class _Found:
    """What an address holds that is worth sending: (asset, base units), tokens first; and what could not be read."""

    worth: tuple[tuple[str, int], ...]
    unread: tuple[str, ...]


def sweep(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], step_key: str) -> None:
    """Send what the keys' addresses hold.

    Raises ApprovalError when no safe destination verifies, UnavailableError when something was left for later, and what
    the chain raises.
    """
    unread: list[str] = []
    for source in _sources(parts, account, keys):
        destination = verified_destination(parts, account, source.chain_id)
        for attempt in range(ROUNDS):
            found = _round(parts, source, destination, step_key, attempt)
            if found is not None:
                unread.extend(found.unread)
                break
    if unread:
        raise UnavailableError(f"the balance of {', '.join(unread)} could not be read: the rest was swept")


def send_dropped(parts: VaultParts, account: AccountId) -> None:
    """Send again what was in a block and is in none, where its nonce is free. Raises what the chain raises."""
    for row in _dropped(parts, account):
        move_sweep(parts, row, SweepState.SIGNED)
        try:
            parts.chain(row.chain).send(row.raw_transaction)
        except RefusedByOtherSideError as refused:
            if not parts.chain(row.chain).knows(row.transaction_hash):
                move_sweep(parts, row, SweepState.FAILED, str(refused))
            continue
        move_sweep(parts, row, SweepState.SENT)


def _dropped(parts: VaultParts, account: AccountId) -> list[SweepTransaction]:
    with parts.db.begin() as uow:
        settled = [s for s in uow.keys.sweeps(account) if s.state is SweepState.FINAL]
    return [
        row
        for row in settled
        if parts.chain(row.chain).mined_nonce(row.from_address) <= row.nonce
        and parts.chain(row.chain).mined(row.transaction_hash) is None
    ]


def swept(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> Verdict:
    """Say whether every sweep transaction is final and nothing worth its fee is left."""
    with parts.db.begin() as uow:
        sent = [s for s in uow.keys.sweeps(account) if s.state in (SweepState.SIGNED, SweepState.SENT)]
    settled = [_settle(parts, s) for s in sent]
    if not all(settled):
        # Signed but unknown to the chain: nothing is under way, so the same bytes may be sent.
        lost = any(s.state is SweepState.SIGNED and not parts.chain(s.chain).knows(s.transaction_hash) for s in sent)
        return Verdict.DOES_NOT_HOLD if lost else Verdict.CANNOT_TELL
    found = [_holdings(source, _fee(source)) for source in _sources(parts, account, keys)]
    if any(f.worth for f in found) or _dropped(parts, account):
        return Verdict.DOES_NOT_HOLD
    return Verdict.CANNOT_TELL if any(f.unread for f in found) else Verdict.HOLDS


def holdings(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> dict[str, str]:
    """Return what a sweep would move now: CAIP-19 → base units, over all addresses."""
    total: dict[str, int] = {}
    for source in _sources(parts, account, keys):
        for asset, amount in _holdings(source, _fee(source)).worth:
            total[asset] = total.get(asset, 0) + amount
    return {asset: str(amount) for asset, amount in sorted(total.items())}


def _sources(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> list[_Source]:
    with parts.db.begin() as uow:
        assets = spelt_once(uow.keys.assets(account))
    chains = sorted({asset.partition("/")[0] for asset in assets if asset.startswith("eip155:")})
    if not chains:
        raise MissingCapabilityError(f"account {account} has no EVM asset registered: name its assets to sweep them")
    return [_source(parts, key, chain, assets) for chain in chains for key in keys]


def _source(parts: VaultParts, key: VaultKey, chain: str, assets: Sequence[str]) -> _Source:
    mine = [a for a in assets if a.startswith(f"{chain}/")]
    tokens = tuple((a, a.partition("/erc20:")[2]) for a in mine if "/erc20:" in a)
    native = next((a for a in mine if "/slip44:" in a), f"{chain}/slip44:60")
    return _Source(key, chain, parts.chain(chain), tokens, native)


def _holdings(source: _Source, fee: Fee) -> _Found:
    held: list[tuple[str, int]] = []
    unread: list[str] = []
    for asset, token in source.tokens:
        try:
            amount = source.chain.token_balance(token, source.address)
        except UnavailableError:
            unread.append(asset)
        else:
            if amount > 0:
                held.append((asset, amount))
    own = fee.max_fee * NATIVE_GAS
    for_tokens = fee.max_fee * TOKEN_GAS * (len(held) + len(unread))
    left = source.chain.balance(source.address) - for_tokens - own
    if left >= WORTH * own:
        held.append((source.native, left))
    return _Found(tuple(held), tuple(unread))


def _fee(source: _Source) -> Fee:
    fee = source.chain.fee()
    mined = source.chain.mined_nonce(source.address)
    return fee.raised() if source.chain.next_nonce(source.address) > mined else fee


def _round(
    parts: VaultParts, source: _Source, destination: VerifiedDestination, step_key: str, attempt: int
) -> _Found | None:
    """Send what is signed but unsent, then what is still there; None when another round is needed."""
    with parts.db.begin() as uow:
        mine = [
            s
            for s in uow.keys.sweeps(source.key.account_id)
            if s.chain == source.chain_id and s.from_address == source.address
        ]
    again = [not _send(parts, source, s) for s in mine if s.state is SweepState.SIGNED]
    if any(again):
        return None
    settled = [_settle(parts, s) for s in mine if s.state in (SweepState.SIGNED, SweepState.SENT)]
    if not all(settled):
        return _Found((), ())
    fee = _fee(source).times(2**attempt)
    found = _holdings(source, fee)
    nonce = source.chain.mined_nonce(source.address)
    for asset, amount in found.worth:
        transaction = _transaction(source, destination, (asset, amount), nonce, fee)
        row = _signed(parts, source, destination, (asset, amount), transaction, step_key)
        if not _send(parts, source, row):
            return None
        nonce += 1
    return found


def _transaction(
    source: _Source, destination: VerifiedDestination, what: tuple[str, int], nonce: int, fee: Fee
) -> Transaction:
    asset, amount = what
    number, to = chain_number(source.chain_id), destination.destination.descriptor
    if asset == source.native:
        return Transaction(number, nonce, to, amount, b"", NATIVE_GAS, fee)
    return Transaction(number, nonce, dict(source.tokens)[asset], 0, transfer_data(to, amount), TOKEN_GAS, fee)


def _signed(
    parts: VaultParts,
    source: _Source,
    destination: VerifiedDestination,
    what: tuple[str, int],
    transaction: Transaction,
    step_key: str,
) -> SweepTransaction:
    asset, amount = what
    to = destination.destination.descriptor
    request = Sweep(source.key.account_id, source.chain_id, asset, to, destination)
    signature = parts.sign(source.key, request, transaction.digest())
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
    with parts.db.begin() as uow:
        try:
            uow.keys.add_sweep(row)
        except ConflictError as error:
            raise UnavailableError("another worker is sweeping the same address: it goes on") from error
        sentence = f"Sweep signed: {amount} of {asset} to {to}"
        uow.record(Entry(kind="sweep.signed", at=uow.now, subject=row.id, sentence=sentence, facts=facts))
    return row


def _send(parts: VaultParts, source: _Source, row: SweepTransaction) -> bool:
    """Send one signed transaction; False when it can never be mined and a new round must replace it."""
    try:
        source.chain.send(row.raw_transaction)
    except RefusedByOtherSideError as refused:
        if source.chain.mined(row.transaction_hash) is None:
            move_sweep(parts, row, SweepState.FAILED, str(refused))
            _require_fee(source, row)
            return False
    except UnknownOutcomeError:
        if source.chain.mined(row.transaction_hash) is None and not source.chain.knows(row.transaction_hash):
            raise
    move_sweep(parts, row, SweepState.SENT)
    return True


def _require_fee(source: _Source, row: SweepTransaction) -> None:
    """Raise UnavailableError when a token cannot be moved because the address has no coin to pay for it."""
    needed = source.chain.fee().max_fee * TOKEN_GAS
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
