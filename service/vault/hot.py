"""What an own hot wallet's key still signs to contain: same-nonce cancellations and the taking back of allowances.

Rules: nothing is remembered, the chain is asked what is pending and allowed; a pending transaction is outbid at its own
nonce, at first by an eighth (nodes want 10 % more), then by more while the chain says it is too little, never over MAX_FEE;
at most MOST_AT_ONCE are signed per key and chain by one attempt; a chain that is away keeps no other from being worked on;
`hsm/restrictions.py` lets a restricted key sign both and nothing like them.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from eth_hash.auto import keccak

from hsm.restrictions import NonceCancel, Revocation, SigningRequest
from service.domain import safe
from service.domain.assets import spelt_once
from service.domain.errors import MissingCapabilityError, RefusedByOtherSideError, UnavailableError
from service.domain.evm import MAX_FEE, NATIVE_GAS, TOKEN_GAS, Fee, Transaction, address_bytes, chain_number
from service.domain.ids import AccountId
from service.domain.plan import Verdict
from service.domain.standing import Standing
from service.domain.vault import VaultKey
from service.ports.chain import ContractChain
from service.vault.everywhere import Outcome, all_hold, everywhere, require
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

    def told(wallet: _Wallet) -> tuple[str, int, list[str]]:
        known = [name for name in transactions if wallet.chain.mined(name) is not None]
        return wallet.caip10, wallet.chain.mined_nonce(wallet.address), known

    found = require(_at_each(parts, account, keys, told))
    return Standing({where: nonce for where, nonce, _ in found}, {name for *_, known in found for name in known})


def revoke(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> list[str]:
    """Take every allowance back and wait until that is in blocks; returns the hashes."""

    def take_back(wallet: _Wallet) -> _Sent:
        names: list[str] = []
        nonce = wallet.chain.mined_nonce(wallet.address)
        for token, spender in list(_allowed(wallet))[:MOST_AT_ONCE]:
            data = safe.call("approve(address,uint256)", spender, 0)
            request = Revocation(wallet.key.account_id, token, 0, data)
            transaction = Transaction(chain_number(wallet.chain_id), nonce, token, 0, data, TOKEN_GAS, _fee(wallet))
            names.append(_send(wallet, transaction, request))
            nonce += 1
        return _Sent(wallet, names, nonce)

    return _sent_everywhere(parts, account, keys, take_back)


def none_allowed(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey]) -> Verdict:
    """Say whether nobody may take any of the account's tokens."""
    return all_hold(_at_each(parts, account, keys, lambda wallet: not any(_allowed(wallet))))


def _sent_everywhere(
    parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], send: Callable[[_Wallet], _Sent]
) -> list[str]:
    """Send with every key on every chain, then wait for what was sent; then raise what came of those that failed."""
    sent = _at_each(parts, account, keys, send)
    places = [(one.wallet.chain_id, one) for one in sent.results]
    waited = everywhere(places, lambda _, one, until: _wait(one, until), PATIENCE_S)
    waited.errors[:0] = sent.errors
    return [name for names in require(waited) for name in names]


def _at_each(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], do: Callable[[_Wallet], R]) -> Outcome[R]:
    with parts.db.begin() as uow:
        assets = [asset for asset in spelt_once(uow.keys.assets(account)) if asset.startswith("eip155:")]
    if not assets:
        raise MissingCapabilityError(f"account {account} has no EVM asset registered: name its assets")

    def at(chain_id: str, key: VaultKey, _: float) -> R:
        tokens = tuple(a.partition("/erc20:")[2] for a in assets if a.startswith(f"{chain_id}/erc20:"))
        return do(_Wallet(parts, key, chain_id, parts.chain(chain_id), tokens))

    chains = sorted({asset.partition("/")[0] for asset in assets})
    return everywhere([(chain, key) for chain in chains for key in keys], at, SENDING_S)


def _outbid(wallet: _Wallet, nonce: int) -> str | None:
    """Take one nonce and return the hash; None when a block took it meanwhile."""
    fee = _fee(wallet)
    request = NonceCancel(wallet.key.account_id, nonce, nonce, wallet.address, wallet.address, 0, b"")
    while True:
        number = chain_number(wallet.chain_id)
        try:
            return _send(wallet, Transaction(number, nonce, wallet.address, 0, b"", NATIVE_GAS, fee), request)
        except RefusedByOtherSideError as error:
            if wallet.chain.mined_nonce(wallet.address) > nonce:
                return None
            if "underpriced" not in str(error).lower():
                raise UnavailableError(f"nonce {nonce} of {wallet.address} could not be taken: {error}") from error
        if fee.max_fee >= MAX_FEE:
            raise UnavailableError(f"what is pending at nonce {nonce} of {wallet.address} offers more than we ever do")
        fee = fee.times(2)


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


def _allowed(wallet: _Wallet) -> Iterator[tuple[str, str]]:
    """Yield (token, spender) of every allowance that is left, from the tokens' own logs and answers."""
    owner = bytes(12) + address_bytes(wallet.address)
    for token in wallet.tokens:
        told = wallet.chain.topics(token, (_APPROVAL, owner))
        for spender in sorted({safe.address_in_slot(topics[2]) for topics in told if len(topics) == _TOPICS}):
            raw = wallet.chain.call(token, safe.call("allowance(address,address)", wallet.address, spender))
            if int(str(safe.answered("uint256", raw, "allowance"))) > 0:
                yield token, spender
