"""Moving everything an account's keys hold to its verified safe destination.

Rules: every transaction is signed and its row committed before it is sent, so that after a crash or a lost answer the
very same bytes are sent again or their receipt is asked for; a nonce that somebody else used (the thief has the key too)
makes that transaction fail and a new round begin at the next nonce. Tokens go first, the native coin last, because it
pays for them. Pending transactions of others are outbid at their nonce.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from hsm.errors import StatementError
from hsm.restrictions import Sweep
from hsm.statements import VerifiedDestination, verified
from service.domain.errors import ApprovalError, MissingCapabilityError, RefusedByOtherSideError, UnavailableError
from service.domain.evm import NATIVE_GAS, TOKEN_GAS, Fee, Transaction, chain_number, transaction_hash, transfer_data
from service.domain.ids import AccountId, new_id
from service.domain.plan import Verdict
from service.domain.timeline import Entry
from service.domain.vault import SweepState, SweepTransaction, VaultKey
from service.ports.chain import EvmChain
from service.vault.parts import VaultParts
from service.vault.provision import destination_of

ROUNDS: Final = 6
"""How often a sweep starts again when the thief used the nonce first."""


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
    destination: VerifiedDestination

    @property
    def to(self) -> str:
        return self.destination.destination.descriptor


def sweep(parts: VaultParts, account: AccountId, keys: tuple[VaultKey, ...], step_key: str) -> tuple[str, ...]:
    """Send what the keys' addresses hold; return the hashes of all sweep transactions of this account.

    Raises ApprovalError when no safe destination verifies, and what the chain raises.
    """
    sources = _sources(parts, account, keys)
    for source in sources:
        for _ in range(ROUNDS):
            if not _round(parts, source, step_key):
                break
    with parts.db.begin() as uow:
        return tuple(s.transaction_hash for s in uow.keys.sweeps(account) if s.state is not SweepState.FAILED)


def swept(parts: VaultParts, account: AccountId, keys: tuple[VaultKey, ...]) -> Verdict:
    """Say whether every sweep transaction is final and nothing worth its fee is left."""
    with parts.db.begin() as uow:
        sent = [s for s in uow.keys.sweeps(account) if s.state in (SweepState.SIGNED, SweepState.SENT)]
    settled = [_settle(parts, s) for s in sent]
    if not all(settled):
        return Verdict.CANNOT_TELL
    left = any(_holdings(source) for source in _sources(parts, account, keys))
    return Verdict.DOES_NOT_HOLD if left else Verdict.HOLDS


def holdings(parts: VaultParts, account: AccountId, keys: tuple[VaultKey, ...]) -> dict[str, str]:
    """Return what a sweep would move now: CAIP-19 → base units, over all addresses."""
    total: dict[str, int] = {}
    for source in _sources(parts, account, keys):
        for asset, amount in _holdings(source):
            total[asset] = total.get(asset, 0) + amount
    return {asset: str(amount) for asset, amount in sorted(total.items())}


def _sources(parts: VaultParts, account: AccountId, keys: tuple[VaultKey, ...]) -> list[_Source]:
    with parts.db.begin() as uow:
        assets = uow.keys.assets(account)
    chains = sorted({asset.partition("/")[0] for asset in assets if asset.startswith("eip155:")})
    if not chains:
        raise MissingCapabilityError(f"account {account} has no EVM asset registered: name its assets to sweep them")
    return [_source(parts, account, key, chain, assets) for chain in chains for key in keys]


def _source(parts: VaultParts, account: AccountId, key: VaultKey, chain: str, assets: Sequence[str]) -> _Source:
    mine = [a for a in assets if a.startswith(f"{chain}/")]
    tokens = tuple((a, a.partition("/erc20:")[2]) for a in mine if "/erc20:" in a)
    native = next((a for a in mine if "/slip44:" in a), f"{chain}/slip44:60")
    return _Source(key, chain, parts.chain(chain), tokens, native, _verified(parts, account, chain))


def _verified(parts: VaultParts, account: AccountId, chain: str) -> VerifiedDestination:
    now = parts.clock.now()
    with parts.db.begin() as uow:
        rows = [r for r in uow.registry.destinations(account) if r.chain == chain and r.active_from <= now]
    for row in rows:
        if row.signature is not None:
            # A row with a wrong signature neither redirects nor hides the genuine one.
            with suppress(StatementError):
                return verified(destination_of(row), row.signature, parts.statements, now)
    raise ApprovalError(f"account {account} has no active, signed safe destination on {chain}: register one by quorum")


def _holdings(source: _Source) -> list[tuple[str, int]]:
    """List (asset, amount) worth sending, tokens first; the coin less the fees of everything."""
    found = [(asset, source.chain.token_balance(token, source.key.address)) for asset, token in source.tokens]
    held = [(asset, amount) for asset, amount in found if amount > 0]
    fee = _fee(source)
    cost = fee.max_fee * (NATIVE_GAS + TOKEN_GAS * len(held))
    coin = source.chain.balance(source.key.address) - cost
    return [*held, (source.native, coin)] if coin > 0 else held


def _fee(source: _Source) -> Fee:
    fee = source.chain.fee()
    mined = source.chain.mined_nonce(source.key.address)
    return fee.raised() if source.chain.next_nonce(source.key.address) > mined else fee


def _round(parts: VaultParts, source: _Source, step_key: str) -> bool:
    """Send what is signed but unsent, then everything that is still there; True when another round is needed."""
    with parts.db.begin() as uow:
        waiting = [
            s
            for s in uow.keys.sweeps(source.key.account_id)
            if s.state is SweepState.SIGNED and s.chain == source.chain_id and s.from_address == source.key.address
        ]
    again = [not _send(parts, source, s) for s in waiting]
    if any(again):
        return True
    nonce = source.chain.mined_nonce(source.key.address)
    fee = _fee(source)
    for asset, amount in _holdings(source):
        transaction = _transaction(source, asset, amount, nonce, fee)
        row = _signed(parts, source, (asset, amount), transaction, step_key)
        if not _send(parts, source, row):
            return True
        nonce += 1
    return False


def _transaction(source: _Source, asset: str, amount: int, nonce: int, fee: Fee) -> Transaction:
    number = chain_number(source.chain_id)
    if asset == source.native:
        return Transaction(number, nonce, source.to, amount, b"", NATIVE_GAS, fee)
    token = dict(source.tokens)[asset]
    return Transaction(number, nonce, token, 0, transfer_data(source.to, amount), TOKEN_GAS, fee)


def _signed(
    parts: VaultParts, source: _Source, what: tuple[str, int], transaction: Transaction, step_key: str
) -> SweepTransaction:
    asset, amount = what
    request = Sweep(source.key.account_id, source.chain_id, asset, source.to, source.destination)
    signature = parts.sign(source.key, request, transaction.digest())
    raw = transaction.signed(signature.v, signature.r, signature.s)
    row = SweepTransaction(
        id=new_id("swp"),
        step_key=step_key,
        account_id=source.key.account_id,
        chain=source.chain_id,
        from_address=source.key.address,
        to_address=source.to,
        asset=asset,
        amount_base_units=amount,
        nonce=transaction.nonce,
        raw_transaction=raw,
        transaction_hash=transaction_hash(raw),
        state=SweepState.SIGNED,
    )
    with parts.db.begin() as uow:
        uow.keys.add_sweep(row)
        uow.record(
            Entry(
                kind="sweep.signed",
                at=uow.now,
                subject=row.id,
                sentence=f"Sweep signed: {amount} of {asset} to {source.to}",
                facts={"hash": row.transaction_hash, "nonce": row.nonce, "asset": asset, "amount": str(amount)},
            )
        )
    return row


def _send(parts: VaultParts, source: _Source, row: SweepTransaction) -> bool:
    """Send one signed transaction; False when it can never be mined and a new round must replace it."""
    try:
        source.chain.send(row.raw_transaction)
    except RefusedByOtherSideError:
        if source.chain.mined(row.transaction_hash) is None:
            _move(parts, row, SweepState.FAILED)
            return False
    _move(parts, row, SweepState.SENT)
    return True


def _settle(parts: VaultParts, row: SweepTransaction) -> bool:
    """Ask for the receipt of a sent transaction; True when it is final, one way or the other."""
    chain = parts.chain(row.chain)
    try:
        mined = chain.mined(row.transaction_hash)
        gone = mined is None and chain.mined_nonce(row.from_address) > row.nonce
    except UnavailableError:
        return False
    if mined is None and not gone:
        return False
    _move(parts, row, SweepState.FINAL if mined is not None and mined.succeeded else SweepState.FAILED)
    return True


def _move(parts: VaultParts, row: SweepTransaction, state: SweepState) -> None:
    words = {SweepState.SENT: "sent", SweepState.FINAL: "final", SweepState.FAILED: "not mined: its nonce was used"}
    with parts.db.begin() as uow:
        uow.keys.set_sweep_state(row.id, state)
        uow.record(
            Entry(
                kind=f"sweep.{state.value}",
                at=uow.now,
                subject=row.id,
                sentence=f"Sweep of {row.asset} {words[state]}",
                facts={"hash": row.transaction_hash, "amount": str(row.amount_base_units)},
            )
        )
