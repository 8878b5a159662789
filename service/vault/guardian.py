"""The guardian's own transactions: the guard's creation, its lock and lift, and carrying what owners signed.

Rules: the guardian signs nothing else; it has one pending transaction at a time, at the nonce that is next in blocks, so a
repeat outbids what an earlier attempt left pending instead of queueing behind it; the chain is asked first whether it would
be reverted, and then nothing is sent; a transaction counts once its receipt is there. Only its first nonces can
create a guard that is found again: nothing else is carried before it, and later none is created.
"""

import time
from dataclasses import dataclass, field
from typing import Final

from hsm.custodian import GuardianKey
from hsm.derivation import evm_address
from service.domain.errors import MissingCapabilityError, RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.evm import Transaction, contract_address, transaction_hash
from service.domain.guard import CREATION_GAS, FIRST_NONCES, GuardCode, candidates, who_guards
from service.domain.safe import address_in_slot
from service.ports.chain import ContractChain, Mined
from service.vault.parts import token_calls
from service.vault.purse import Purse

MOST_GAS: Final = 5_000_000
"""More than any of our transactions needs; an endpoint that says otherwise is not believed."""
PATIENCE_S: Final = 45.0
"""How long one call may wait for its transactions before the step is put off; under a worker's time limit."""
_POLL_S: Final = 0.1


@dataclass(frozen=True, slots=True)
class Guardian:
    """The guardian on one chain."""

    key: GuardianKey
    chain: ContractChain
    chain_id: int
    code: GuardCode
    recovery: str | None
    """Who may appoint another guardian; without one no guard is created."""
    purse: Purse | None = None
    """Bounds what it uses in an hour; None where nobody else is to be protected from it."""
    until: float = field(default_factory=lambda: time.monotonic() + PATIENCE_S)
    """When waiting ends, on the monotonic clock."""

    @property
    def address(self) -> str:
        """The guardian's own address, which pays for everything."""
        with token_calls():
            return evm_address(self.key.public_key()).lower()

    def guard(self) -> str | None:
        """Return the address of our guard on this chain; None where there is none yet."""
        mine = self.address
        for candidate in candidates(mine):
            if self.chain.code(candidate) != self.code.runtime:
                continue
            if address_in_slot(self.chain.call(candidate, who_guards())) == mine:
                return candidate
        return None

    def create_guard(self) -> str:
        """Create the guard and return its address.

        Raises MissingCapabilityError when the nonces at whose addresses it is looked for are used up.
        """
        if self.recovery is None:
            raise UnavailableError(
                "no guard is created without PORTCULLIS_GUARD_RECOVERY: set the address that may appoint another guardian"
            )
        nonce = self.chain.mined_nonce(self.address)
        if nonce >= FIRST_NONCES:
            raise MissingCapabilityError(
                f"the guardian {self.address} used its first {FIRST_NONCES} nonces on eip155:{self.chain_id} and has no"
                " guard there: a later one would not be found. Make another guardian key, which begins at nonce 0"
            )
        self._transact(None, self.code.created_by(self.address, self.recovery))
        made = self.guard()
        if made is None:
            told = contract_address(self.address, nonce)
            raise UnavailableError(f"the guard was created, and the chain does not show its code at {told} yet")
        return made

    def carry(self, to: str, data: bytes, *, rejects: bool = False) -> Mined:
        """Send one transaction and wait for its receipt; where the guard can still be created, that comes before it.

        `rejects`: it only uses up a nonce. Raises RefusedByOtherSideError when it would be or was reverted,
        UnavailableError when it takes too long, HourSpentError at the limit of the hour.
        """
        if self.chain.mined_nonce(self.address) < FIRST_NONCES and self.guard() is None:
            self.create_guard()
        return self._transact(to, data, rejects=rejects)

    def _transact(self, to: str | None, data: bytes, *, rejects: bool = False) -> Mined:
        mine = self.address
        gas = self.chain.estimate(mine, to, data) * 5 // 4
        if to is None:
            gas = max(gas, CREATION_GAS)
        if gas > MOST_GAS:
            raise UnavailableError(f"the chain's endpoint tells {gas} gas for it, over {MOST_GAS}: it is not believed")
        fee = self.chain.fee()
        nonce = self.chain.mined_nonce(mine)
        if self.chain.next_nonce(mine) > nonce:
            fee = fee.raised()
        if (held := self.chain.balance(mine)) < gas * fee.max_fee:
            raise UnavailableError(f"the guardian {mine} holds {held} wei and needs {gas * fee.max_fee}: send it coin")
        if self.purse is not None:
            self.purse.take(nonce, gas, rejects=rejects)
        transaction = Transaction(self.chain_id, nonce, to, 0, data, gas, fee)
        with token_calls():
            signature = self.key.sign(transaction.digest())
        return self._settled(transaction.signed(signature.v, signature.r, signature.s), nonce)

    def _settled(self, raw: bytes, nonce: int) -> Mined:
        name = transaction_hash(raw)
        try:
            self.chain.send(raw)
        except UnknownOutcomeError:
            if not self.chain.knows(name):
                raise
        except RefusedByOtherSideError as error:
            # Funds were looked at before: another worker of ours used the nonce, or its transaction is not outbid yet.
            raise UnavailableError(f"the guardian's nonce {nonce} is in use: {error}") from error
        while time.monotonic() < self.until:
            mined = self.chain.mined(name)
            if mined is not None:
                if not mined.succeeded:
                    raise RefusedByOtherSideError(f"the chain reverted {name}")
                return mined
            if self.chain.mined_nonce(self.address) > nonce and self.chain.mined(name) is None:
                raise UnavailableError(f"another transaction of the guardian took nonce {nonce}: it goes on from there")
            time.sleep(_POLL_S)
        raise UnavailableError(f"{name} is in no block yet: it is outbid with the next attempt")
