"""What an own hot wallet's key still signs to contain: same-nonce cancellations and the taking back of allowances.

Rules: nothing is remembered, the chain is asked what is pending and allowed; a pending transaction is outbid at its own
nonce, at first by an eighth (nodes want 10 % more), then by more while the chain says it is too little, never over MAX_FEE;
at most MOST_AT_ONCE are signed per key and chain by one attempt; a chain that is away keeps no other from being worked on;
`hsm/restrictions.py` lets a restricted key sign both and nothing like them.

Gas: a cancellation offers 21,000 and no node is asked first. It need only use its nonce up, and whoever has the key may have
put code at the address that would burn more (EIP-7702). Where a chain wants more for anything, what it estimates is offered
next. An allowance is taken back with TOKEN_GAS or, where the node estimates more, with that (`vault/gas.py`); one that ran
out is sent again with twice as much; one that the node says would be reverted is not paid for. What was found is taken back
also where not every block could be looked through, or not every spender asked about in time; that is said then, and is no
"none". Whoever has the key chooses how many spenders there are and in which order: the newest are asked about first, the
others in an order of chance, another one with each attempt.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from random import SystemRandom
from typing import Final, TypeVar

from eth_hash.auto import keccak

from hsm.restrictions import NonceCancel, Revocation, SigningRequest
from service.domain import safe
from service.domain.assets import spelt_once
from service.domain.errors import MissingCapabilityError, RefusedByOtherSideError, UnavailableError
from service.domain.evm import (
    COIN_GAS,
    MAX_FEE,
    MOST_GAS,
    NATIVE_GAS,
    TOKEN_GAS,
    Fee,
    Transaction,
    address_bytes,
    chain_number,
    ran_out,
)
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.domain.standing import Standing
from service.domain.vault import VaultKey
from service.ports.chain import ContractChain
from service.vault.everywhere import Outcome, all_hold, everywhere, require
from service.vault.gas import Call, planned_gas
from service.vault.parts import VaultParts

MOST_AT_ONCE: Final = 50
"""Transactions signed by one attempt; verification finds what is left and the step runs again."""
PATIENCE_S: Final = 15.0
"""How long one attempt waits for its transactions; under a worker's time limit."""
SENDING_S: Final = 25.0
"""How long one attempt goes on with a chain whose endpoint is slow to answer, shared by all chains."""
_POLL_S: Final = 0.1
_APPROVAL: Final = keccak(b"Approval(address,address,uint256)")
_TOPICS: Final = 3
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class _Wallet:
    """One key's address on one chain."""

    parts: VaultParts
    key: VaultKey
    chain_id: str
    chain: ContractChain
    tokens: tuple[str, ...]
    owners: tuple[str, ...]
    """Addresses of all the account's keys: their logs are asked for at once."""
    until: float
    """When sending there ends, on the monotonic clock."""

    @property
    def address(self) -> str:
        return self.key.address

    @property
    def caip10(self) -> str:
        return f"{self.chain_id}:{self.address.lower()}"


@dataclass(frozen=True, slots=True)
class _Sent:
    """What one key sent on one chain."""

    wallet: _Wallet
    names: Sequence[str]
    following: int
    """The nonce after the last of them."""
    limits: Mapping[str, int] = field(default_factory=dict)
    """The gas limits of those that may run out of it, by their names."""
    left: Sequence[str] = ()
    """What could not be done there, as sentences."""


@dataclass(frozen=True, slots=True)
class _Allowed:
    """What was found left of the allowances of one key on one chain."""

    pairs: Sequence[tuple[str, str]]
    """(token, spender)."""
    unread: str
    """What was not looked through or asked about, and why; empty where everything was."""


def replace_pending(
    parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], up_to: Mapping[str, int]
) -> list[str]:
    """Outbid what is pending and wait until it is in blocks; returns the hashes.

    `up_to`, by CAIP-10 address: nonces before it are taken also where nothing is pending.
    Raises UnavailableError when it takes too long, or when the fee that would be needed is over the limit.
    """

    def outbid(wallet: _Wallet) -> _Sent:
        mined, following = wallet.chain.mined_nonce(wallet.address), wallet.chain.next_nonce(wallet.address)
        last = min(max(following, up_to.get(wallet.caip10, 0)), mined + MOST_AT_ONCE)
        names = [name for nonce in range(mined, last) if (name := _outbid(wallet, nonce)) is not None]
        return _Sent(wallet, names, last)

    return _sent_everywhere(parts, account, keys, outbid)


def none_pending(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], up_to: Mapping[str, int]) -> Verdict:
    """Say whether nothing of the account's keys is pending, and every nonce before `up_to` is used."""

    def used(wallet: _Wallet) -> bool:
        mined = wallet.chain.mined_nonce(wallet.address)
        return max(wallet.chain.next_nonce(wallet.address), up_to.get(wallet.caip10, 0)) <= mined

    return all_hold(_at_each(parts, account, keys, used))


def standing(
    parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], transactions: Collection[str]
) -> Standing:
    """Return the keys' nonces in blocks, and which of the transactions are in one. Raises what the chains raise."""
    known: dict[str, set[str]] = {}

    def told(wallet: _Wallet) -> tuple[str, int]:
        if wallet.chain_id not in known:
            known[wallet.chain_id] = {name for name in transactions if wallet.chain.mined(name) is not None}
        return wallet.caip10, wallet.chain.mined_nonce(wallet.address)

    nonces = dict(require(_at_each(parts, account, keys, told)))
    return Standing(nonces, set().union(*known.values()))


def revoke(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> list[str]:
    """Take every allowance back and wait until that is in blocks; returns the hashes.

    Raises UnavailableError also where some were taken back and more may be there.
    """
    names: list[str] = []
    ends, times = time.monotonic() + SENDING_S, 1
    while True:
        sent: list[_Sent] = []

        def take_back(wallet: _Wallet, times: int = times, sent: list[_Sent] = sent) -> _Sent:
            sent.append(_taken_back(wallet, times))
            return sent[-1]

        outcome = _send_and_wait(parts, account, keys, take_back)
        names += [name for done in outcome.results for name in done]
        if times > MOST_GAS // TOKEN_GAS or time.monotonic() > ends or not any(map(_ran_out, sent)):
            require(outcome)
            return names
        times *= 2


def none_allowed(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> Verdict:
    """Say whether nobody may take any of the account's tokens."""

    def none_left(wallet: _Wallet) -> bool:
        found = _allowed(wallet, 1)
        if found.unread and not found.pairs:
            raise UnavailableError(found.unread)
        return not found.pairs

    return all_hold(_at_each(parts, account, keys, none_left))


def _taken_back(wallet: _Wallet, times: int) -> _Sent:
    """Sign and send an approval of nothing for every allowance, with so many times the usual gas."""
    found = _allowed(wallet, MOST_AT_ONCE)
    nonce, held = wallet.chain.mined_nonce(wallet.address), wallet.chain.balance(wallet.address)
    limits: dict[str, int] = {}
    left = [found.unread] if found.unread else []
    for token, spender in found.pairs:
        data = safe.call("approve(address,uint256)", spender, 0)
        fee = _fee(wallet)
        plan = planned_gas(wallet.chain, Call(wallet.address, token, data), TOKEN_GAS)
        if plan.refusal:
            left.append(f"the allowance of {spender} at {token} cannot be taken back: {plan.refusal}")
            continue
        roomy = max(plan.limit, TOKEN_GAS)
        gas = min(times * (roomy if held >= roomy * fee.max_fee else plan.limit), MOST_GAS)
        request = Revocation(wallet.key.account_id, token, 0, data)
        name = _send(wallet, Transaction(chain_number(wallet.chain_id), nonce, token, 0, data, gas, fee), request)
        limits[name] = gas
        nonce += 1
    return _Sent(wallet, tuple(limits), nonce, limits, left)


def _ran_out(sent: _Sent) -> bool:
    receipts = [(limit, sent.wallet.chain.mined(name)) for name, limit in sent.limits.items()]
    return any(told is not None and not told.succeeded and ran_out(told.gas_used, limit) for limit, told in receipts)


def _sent_everywhere(
    parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], send: Callable[[_Wallet], _Sent]
) -> list[str]:
    """Send with every key on every chain, then wait for what was sent; then raise what came of those that failed."""
    return [name for names in require(_send_and_wait(parts, account, keys, send)) for name in names]


def _send_and_wait(
    parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], send: Callable[[_Wallet], _Sent]
) -> Outcome[Sequence[str]]:
    sent = _at_each(parts, account, keys, send)
    places = [(one.wallet.chain_id, one) for one in sent.results]
    waited = everywhere(places, lambda _, one, until: _wait(one, until), PATIENCE_S)
    waited.errors[:0] = [*sent.errors, *(UnavailableError(why) for one in sent.results for why in one.left)]
    return waited


def _at_each(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], do: Callable[[_Wallet], R]) -> Outcome[R]:
    with parts.db.begin() as uow:
        assets = [asset for asset in spelt_once(uow.keys.assets(account)) if asset.startswith("eip155:")]
    if not assets:
        raise MissingCapabilityError(f"account {account} has no EVM asset registered: name its assets")

    owners = tuple(key.address for key in keys)
    reached: dict[str, ContractChain] = {}

    def at(chain_id: str, key: VaultKey, until: float) -> R:
        tokens = tuple(a.partition("/erc20:")[2] for a in assets if a.startswith(f"{chain_id}/erc20:"))
        if chain_id not in reached:
            reached[chain_id] = parts.chain(chain_id)
        return do(_Wallet(parts, key, chain_id, reached[chain_id], tokens, owners, until))

    chains = sorted({asset.partition("/")[0] for asset in assets})
    return everywhere([(chain, key) for chain in chains for key in keys], at, SENDING_S)


def _outbid(wallet: _Wallet, nonce: int) -> str | None:
    """Take one nonce and return the hash; None when a block took it meanwhile."""
    fee, gas = _fee(wallet), NATIVE_GAS
    request = NonceCancel(wallet.key.account_id, nonce, nonce, wallet.address, wallet.address, 0, b"")
    while True:
        number = chain_number(wallet.chain_id)
        try:
            return _send(wallet, Transaction(number, nonce, wallet.address, 0, b"", gas, fee), request)
        except RefusedByOtherSideError as error:
            if wallet.chain.mined_nonce(wallet.address) > nonce:
                return None
            if "underpriced" not in str(error).lower():
                gas = _more_gas(wallet, nonce, gas, error)
                continue
        if fee.max_fee >= MAX_FEE:
            raise UnavailableError(f"what is pending at nonce {nonce} of {wallet.address} offers more than we ever do")
        fee = fee.times(2)


def _more_gas(wallet: _Wallet, nonce: int, gas: int, refused: RefusedByOtherSideError) -> int:
    """Return what the chain wants for anything at all. Raises UnavailableError where that was offered already."""
    if gas == NATIVE_GAS:
        more = planned_gas(wallet.chain, Call(wallet.address, wallet.address), COIN_GAS).limit
        if more > gas:
            return more
    raise UnavailableError(f"nonce {nonce} of {wallet.address} could not be taken: {refused}") from refused


def _fee(wallet: _Wallet) -> Fee:
    fee = wallet.chain.fee()
    pending = wallet.chain.next_nonce(wallet.address) > wallet.chain.mined_nonce(wallet.address)
    return fee.raised() if pending else fee


def _send(wallet: _Wallet, transaction: Transaction, request: SigningRequest) -> str:
    signature = wallet.parts.sign(wallet.key, request, transaction.digest())
    return wallet.chain.send(transaction.signed(signature.v, signature.r, signature.s))


def _wait(sent: _Sent, until: float) -> Sequence[str]:
    """Wait until every nonce of it is used and return the hashes."""
    wallet = sent.wallet
    while wallet.chain.mined_nonce(wallet.address) < sent.following:
        if time.monotonic() > until:
            raise UnavailableError(f"transactions of {wallet.address} are in no block yet: they are outbid next time")
        time.sleep(_POLL_S)
    return sent.names


def _allowed(wallet: _Wallet, most: int) -> _Allowed:
    """Return up to `most` allowances that are left, by the tokens' own logs and answers, and what time was too short for."""
    spenders, unread = _spenders(wallet)
    pairs: list[tuple[str, str]] = []
    for asked, (token, spender) in enumerate(spenders):
        if time.monotonic() >= wallet.until:
            late = f"{len(spenders) - asked} of {len(spenders)} spenders were not asked about: the time was over"
            return _Allowed(pairs, "; ".join(filter(None, (unread, late))))
        raw = wallet.chain.call(token, safe.call("allowance(address,address)", wallet.address, spender))
        if int(str(safe.answered("uint256", raw, "allowance"))) > 0:
            pairs.append((token, spender))
        if len(pairs) == most:
            break
    return _Allowed(pairs, unread)


def _spenders(wallet: _Wallet) -> tuple[Sequence[tuple[str, str]], str]:
    """Return every (token, spender) of the logs, in the order of asking, and what is unread: it takes half of the time."""
    now = time.monotonic()
    owners = [bytes(12) + address_bytes(owner) for owner in wallet.owners]
    told = wallet.chain.logs(wallet.tokens, ([_APPROVAL], owners), now + max(0.0, wallet.until - now) / 2)
    mine = bytes(12) + address_bytes(wallet.address)
    known = [(token, topics) for token, topics in told.logs if len(topics) == _TOPICS and topics[1] == mine]
    found = list(dict.fromkeys((token, safe.address_in_slot(topics[2])) for token, topics in known))
    older = found[MOST_AT_ONCE:]
    SystemRandom().shuffle(older)
    return [*found[:MOST_AT_ONCE], *older], told.unread
