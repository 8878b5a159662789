"""What an address of an own EVM wallet holds that is worth sending, and the gas that is planned for each transfer.

Rules: tokens go first, the native coin last, because it pays for them; what it pays is kept from what is sent. The gas
of a transfer is the node's estimate within bounds (`vault/gas.py`), and at least twice what a transfer of the same
step had used when it failed: one that ran out of gas is never sent again with as much. One that failed in a block and
would fail again, by the node's word or at MOST_GAS, is not paid for once more by the same step. A token gets TOKEN_GAS
at least where the coin is there for it. Where its transfer may need a second one, with twice as much gas, the coin for
that stays, too: a token without coin beside it is stuck. One that the coin there does not pay for is not signed, as no
node would take it. A token is known by its contract, however its registration spells that. One whose balance cannot be read
delays nothing else, and what it holds is never taken for nothing.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from service.domain.errors import UnavailableError
from service.domain.evm import (
    COIN_GAS,
    MOST_GAS,
    NATIVE_GAS,
    TOKEN_GAS,
    Fee,
    Transaction,
    chain_number,
    gas_limit,
    ran_out,
    transfer_data,
)
from service.domain.vault import SweepState, SweepTransaction, VaultKey
from service.ports.chain import EvmChain
from service.vault.gas import Call, PlannedGas, planned_gas
from service.vault.parts import VaultParts

WORTH: Final = 10
"""What is left of the coin is swept while it is at least so many times the fee of the gas that moving it may use.

COIN_GAS is the most that is counted: an endpoint that estimates more makes no coin worthless."""
SECOND: Final = 3
"""So many times the gas of a token's transfer is kept where that may fail: for it, and for one with twice as much."""
LOOKED_BACK: Final = 50
"""Failed transfers of a step whose receipts are looked at, the newest by their nonces."""


@dataclass(frozen=True, slots=True)
class Source:
    """One address to empty."""

    parts: VaultParts
    key: VaultKey
    chain_id: str
    chain: EvmChain
    tokens: tuple[tuple[str, str], ...]
    """(CAIP-19, contract address)."""
    native: str
    """CAIP-19 of the chain's coin."""

    @property
    def address(self) -> str:
        """The key's address."""
        return self.key.address


@dataclass(frozen=True, slots=True)
class Terms:
    """How one attempt pays."""

    fee: Fee
    to: str | None
    """The safe destination; None where none verifies, and then no node is asked."""
    step_key: str = ""
    """Idempotency key of the step that pays; where it is empty, that of the newest transfer."""
    gas_times: int = 1
    """So many times the planned gas, because the chain refused less."""
    spare: bool = False
    """Whether the fee of moving the coin is kept twice: some chains take a fee for another chain's room beside the gas."""


@dataclass(frozen=True, slots=True)
class Payment:
    """One transfer that empties an asset."""

    asset: str
    amount: int
    gas: int
    sure: bool = True
    """Whether the gas is what the node estimates, and no transfer failed before: else it may take a second one."""
    vain: str = ""
    """Why it would be paid for in vain; empty where it is to be sent."""

    def transaction(self, source: Source, to: str, nonce: int, fee: Fee) -> Transaction:
        """Return it as what is signed."""
        call = _call(source, self.asset, self.amount, to)
        return Transaction(chain_number(source.chain_id), nonce, call.to, call.value, call.data, self.gas, fee)


@dataclass(frozen=True, slots=True)
class Held:
    """What lies at an address, in base units."""

    coin: int
    tokens: tuple[tuple[str, int], ...]
    """(CAIP-19, amount) of each that is there."""
    unread: tuple[str, ...]
    """CAIP-19 of the tokens that could not be read."""

    @property
    def nothing(self) -> bool:
        """Say whether it surely holds nothing."""
        return not (self.coin or self.tokens or self.unread)


@dataclass(frozen=True, slots=True)
class Found:
    """What an address holds that is worth sending, tokens first; and the tokens that could not be read."""

    worth: tuple[Payment, ...] = ()
    unread: tuple[str, ...] = ()
    rest: str = ""
    """What stays of the coin because it is not worth its fee, as a sentence; empty where nothing does."""

    @property
    def left(self) -> Iterable[str]:
        """What is not swept now, as sentences."""
        if self.unread:
            yield f"the balance of {', '.join(self.unread)} could not be read"
        for payment in self.worth:
            if payment.vain:
                yield f"{payment.asset} was not sent: {payment.vain}"


def source_at(parts: VaultParts, key: VaultKey, chain: str, assets: Sequence[str]) -> Source:
    """Return one address to empty; `assets` are all of the account. Raises MissingCapabilityError without an endpoint."""
    mine = [a for a in assets if a.startswith(f"{chain}/")]
    tokens = tuple((a, a.partition("/erc20:")[2]) for a in mine if "/erc20:" in a)
    native = next((a for a in mine if "/slip44:" in a), f"{chain}/slip44:60")
    return Source(parts, key, chain, parts.chain(chain), tokens, native)


def raised_at(source: Source, fee: Fee) -> Fee:
    """Return the fee to offer where the chain's is `fee`, over what is pending. Raises what the chain raises."""
    mined = source.chain.mined_nonce(source.address)
    return fee.raised() if source.chain.next_nonce(source.address) > mined else fee


def held_at(source: Source, until: float) -> Held:
    """Ask what lies at the address. After `until`, on the monotonic clock, nothing is asked once a token was not read.

    Raises what the chain raises to the question for the coin.
    """
    held: list[tuple[str, int]] = []
    unread: list[str] = []
    coin = source.chain.balance(source.address)
    for asset, token in source.tokens:
        if unread and time.monotonic() >= until:
            unread.append(asset)
            continue
        try:
            amount = source.chain.token_balance(token, source.address)
        except UnavailableError:
            unread.append(asset)
        else:
            if amount > 0:
                held.append((asset, amount))
    return Held(coin, tuple(held), tuple(unread))


def find(source: Source, held: Held, terms: Terms, rows: Sequence[SweepTransaction]) -> Found:
    """Return what of it is worth sending. Raises what the chain raises.

    `rows`: the sweep transactions from there so far, by nonce.
    """
    coin = held.coin
    failed = _failed(source, terms, rows)
    payments = [_payment(source, terms, (asset, amount), failed.get(asset)) for asset, amount in held.tokens]
    roomy = [replace(p, gas=max(p.gas, TOKEN_GAS)) for p in payments]
    if coin >= sum(p.gas for p in roomy) * terms.fee.max_fee:
        payments = roomy
    kept = sum(p.gas if p.sure or p.vain else SECOND * p.gas for p in payments) + TOKEN_GAS * len(held.unread)
    own = _coin(source, terms, coin - kept * terms.fee.max_fee, failed.get(source.native))
    rest = "" if own or not coin else _rest(source, coin, terms.fee)
    return Found((*_affordable(source, payments, terms.fee, coin), *own), held.unread, rest)


def _affordable(source: Source, payments: Iterable[Payment], fee: Fee, coin: int) -> Iterable[Payment]:
    """Yield the payments; those are vain that what is left of the coin after those before does not pay for."""
    for payment in payments:
        price = payment.gas * fee.max_fee
        if payment.vain:
            yield payment
        elif price > coin:
            yield replace(payment, vain=f"{source.address} cannot pay for it: send it {price} base units of the coin")
        else:
            coin -= price
            yield payment


def _rest(source: Source, coin: int, fee: Fee) -> str:
    what = f"{coin} base units of {source.native} stay at {source.address}"
    return f"{what}: not worth moving at {fee.max_fee} wei for each gas, as its chain tells fee and gas"


def _failed(source: Source, terms: Terms, rows: Sequence[SweepTransaction]) -> Mapping[str, int]:
    """Return by asset what failed transfers of the step, in blocks, used at most."""
    step = terms.step_key or (rows[-1].step_key if rows else "")
    mine = [row for row in rows if row.state is not SweepState.FINAL and row.step_key == step]
    found: dict[str, int] = {}
    for row in mine[-LOOKED_BACK:]:
        told = source.chain.mined(row.transaction_hash)
        if told is not None and not told.succeeded:
            found[row.asset] = max(told.gas_used, found.get(row.asset, 0))
    return found


def _coin(source: Source, terms: Terms, left: int, failed: int | None) -> Sequence[Payment]:
    """Return the transfer of what is left of the coin; nothing where it is not worth its fee."""
    price = terms.fee.max_fee * (2 if terms.spare else 1)
    if left < (WORTH + 1) * price * NATIVE_GAS:
        return ()
    payment = _payment(source, terms, (source.native, left - price * NATIVE_GAS), failed)
    amount = left - price * payment.gas
    worth = amount >= WORTH * terms.fee.max_fee * min(payment.gas, COIN_GAS)
    return (replace(payment, amount=amount),) if worth else ()


def _payment(source: Source, terms: Terms, what: tuple[str, int], failed: int | None) -> Payment:
    asset, amount = what
    otherwise = COIN_GAS if asset == source.native else TOKEN_GAS
    used = failed or 0
    if terms.to is None:
        plan = PlannedGas(gas_limit(None, otherwise, used), estimated=False)
    else:
        plan = planned_gas(source.chain, _call(source, asset, amount, terms.to), otherwise, used)
    vain = ""
    if failed is not None and plan.refusal:
        vain = f"it failed in a block, and {plan.refusal}"
    elif ran_out(used, MOST_GAS):
        vain = f"it failed in a block with {used} gas, and never gets more than {MOST_GAS}"
    sure = plan.estimated and failed is None
    return Payment(asset, amount, min(plan.limit * terms.gas_times, MOST_GAS), sure, vain)


def _call(source: Source, asset: str, amount: int, to: str) -> Call:
    if asset == source.native:
        return Call(source.address, to, b"", amount)
    return Call(source.address, dict(source.tokens)[asset], transfer_data(to, amount))
