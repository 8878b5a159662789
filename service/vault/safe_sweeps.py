"""Which transactions empty a Safe: anew, or beside what was proposed to its other owners and waits for them.

Rules: a proposal is ours by the signature of a key of the vault over what it does, whatever the service says of it; it
counts while what is there covers it and it is at least a GROWTH-th of that, larger ones taken off: then no other takes its
nonce or pays its amount once more. One of less is replaced at its nonce: a key in others' hands signs such to keep the true
one far behind. What came in meanwhile is proposed on its own only where it is more than a GROWTH-th of what waits: whoever
wants further proposals made has to pay for each. A nonce at which nothing of ours is left before one that waits is used up
by a rejection. A token is known by its contract, however its registration spells that. What comes in after the step moved of
an asset already may be left (`vault/safe_rest.py`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from hsm.restrictions import Allowed, KeyState, SafeRejection, SafeSweep, SigningRequest, may_sign
from hsm.statements import VerifiedDestination
from service.domain.errors import PortcullisError, UnavailableError
from service.domain.evm import TOKEN_GAS, transfer_data
from service.domain.ids import AccountId
from service.domain.safe import NO_REFUND, SafeState, SafeTransaction
from service.domain.safe_queue import Queued, Waiting, rejection
from service.vault.destinations import verified_destination
from service.vault.safe_rest import Earlier, Rest, shown
from service.vault.safe_waiting import signers
from service.vault.safes import Safe

SIGN_OUT: Final = frozenset({KeyState.ACTIVE.value, KeyState.RESTRICTED.value})
"""Keys that may sign what goes only where the owners want it, or nowhere."""
WORTH: Final = 10
"""What a Safe holds of the coin is swept while it is at least so many times the fee of moving it."""
GROWTH: Final = 10
"""What came in beside a proposal that waits is proposed once it is over 1/GROWTH of that."""
Request = tuple[SafeTransaction, SigningRequest]
_AMOUNT_FROM: Final = 36


@dataclass(frozen=True, slots=True)
class Planned:
    """The transactions that empty it, in the order of their nonces."""

    requests: Sequence[Request]
    to: str
    """The safe destination that they pay."""
    grown: Mapping[str, int] = field(default_factory=dict)
    """By asset, in base units: what is proposed beside a proposal that waits."""


def rejecting(safe: Safe, nonce: int) -> Request:
    """Return the rejection of a nonce, and what a key is asked for it."""
    made = rejection(safe.guardian.chain_id, safe.address, nonce)
    return made, SafeRejection(safe.account, safe.address, made.to, made.value, made.data)


@dataclass(frozen=True, slots=True)
class Sweeping:
    """One Safe that is to be emptied."""

    safe: Safe
    assets: Sequence[str]
    """CAIP-19 of the account, on every chain."""
    unread: list[PortcullisError]
    """Gets an error for each token whose balance could not be read."""
    earlier: Earlier = field(default_factory=Earlier)
    """What the same step had done before."""

    @property
    def chain_id(self) -> str:
        """CAIP-2."""
        return f"eip155:{self.safe.guardian.chain_id}"

    def anew(self, state: SafeState) -> Planned:
        """Return one transfer for each asset that is worth it, with following nonces."""
        to = self._destination()
        held = [(asset, held) for asset, held in self._balances().items() if self._is_worth(asset, held)]
        return Planned(
            [self._pays(to, *one, nonce) for nonce, one in enumerate(held, state.nonce)], to.destination.descriptor
        )

    def beside(self, state: SafeState, waiting: Waiting) -> Planned:
        """Return what of ours waits and still can be executed, and transfers for the rest at the nonces between."""
        to = self._destination()
        left = self._balances()
        promised: dict[str, int] = {}
        kept: dict[int, Request] = {}
        for made, request in self._ours(state, waiting, to):
            amount = amount_of(made) if isinstance(request, SafeSweep) else 0
            asset = request.asset if isinstance(request, SafeSweep) else ""
            rest = left.get(asset, amount)  # a token whose balance cannot be read is covered
            if made.nonce not in kept and amount <= rest <= amount * GROWTH:
                kept[made.nonce] = made, request
                promised[asset] = promised.get(asset, 0) + amount
                left[asset] = rest - amount
        fresh = [(asset, rest) for asset, rest in left.items() if self._is_worth(asset, rest, promised.get(asset, 0))]
        if not fresh and not any(isinstance(request, SafeSweep) for _, request in kept.values()):
            return Planned([], to.destination.descriptor)
        grown = {asset: rest for asset, rest in fresh if asset in promised}
        return Planned(list(self._filled(state.nonce, kept, fresh, to)), to.destination.descriptor, grown)

    def rests(self) -> list[Rest]:
        """Return what it holds and is not moved, and why."""
        return [
            self._rest(asset, held)
            for asset, held in self._balances().items()
            if held and not self._is_worth(asset, held)
        ]

    def _rest(self, asset: str, amount: int) -> Rest:
        dust = self.earlier.why_dust(asset, amount)
        because = dust or f"less than {WORTH} times the fee of moving it"
        token = asset.partition("/erc20:")[2]
        return Rest(
            self.safe.address,
            asset,
            amount,
            shown(self.safe.chain, token, amount),
            self.earlier.usd_of(asset, amount),
            because,
        )

    def _filled(
        self, nonce: int, kept: dict[int, Request], fresh: list[tuple[str, int]], to: VerifiedDestination
    ) -> Iterator[Request]:
        while kept or fresh:
            if nonce in kept:
                yield kept.pop(nonce)
            elif fresh:
                yield self._pays(to, *fresh.pop(0), nonce)
            else:
                yield rejecting(self.safe, nonce)
            nonce += 1

    def _ours(self, state: SafeState, waiting: Waiting, to: VerifiedDestination) -> list[Request]:
        """Return the sweeps and rejections that keys of the vault signed, the largest first, then by nonce."""
        mine = {key.address.lower() for key in self.safe.owners(state, frozenset(KeyState))}
        known = (self._known(queued, to) for queued in waiting.queued if signers(self.safe, queued, mine))
        return sorted((one for one in known if one is not None), key=lambda one: (-amount_of(one[0]), one[0].nonce))

    def _known(self, queued: Queued, to: VerifiedDestination) -> Request | None:
        if queued.operation or queued.gas != NO_REFUND:
            return None
        if queued.moves_nothing(self.safe.address):
            return rejecting(self.safe, queued.nonce)
        asset = self._tokens().get(queued.to) if queued.data else self._coin()
        if asset is None:
            return None
        made = SafeTransaction(
            self.safe.guardian.chain_id, self.safe.address, queued.to, queued.data, queued.nonce, queued.value
        )
        request = SafeSweep(self.safe.account, self.chain_id, asset, made.to, made.value, made.data, to)
        return (made, request) if isinstance(may_sign(KeyState.ACTIVE, request), Allowed) else None

    def _pays(self, destination: VerifiedDestination, asset: str, amount: int, nonce: int) -> Request:
        to = destination.destination.descriptor
        token = asset.partition("/erc20:")[2]
        target, value, data = (token, 0, transfer_data(to, amount)) if token else (to, amount, b"")
        made = SafeTransaction(self.safe.guardian.chain_id, self.safe.address, target, data, nonce, value)
        return made, SafeSweep(self.safe.account, self.chain_id, asset, target, value, data, destination)

    def _destination(self) -> VerifiedDestination:
        return verified_destination(self.safe.parts, AccountId(self.safe.account), self.chain_id)

    def _balances(self) -> dict[str, int]:
        """Return what it holds by asset, the coin last; without tokens whose balance cannot be read."""
        chain, address = self.safe.chain, self.safe.address
        held: dict[str, int] = {}
        for contract, asset in sorted(self._tokens().items()):
            try:
                held[asset] = chain.token_balance(contract, address)
            except UnavailableError as error:
                self.unread.append(UnavailableError(f"the balance of {asset} could not be read: {error}"))
        return held | {self._coin(): chain.balance(address)}

    def _tokens(self) -> dict[str, str]:
        """Return the registered tokens of this chain by their contracts in lower case, each once."""
        told = f"{self.chain_id}/erc20:"
        return {asset.removeprefix(told).lower(): asset for asset in self.assets if asset.startswith(told)}

    def _is_worth(self, asset: str, amount: int, promised: int = 0) -> bool:
        least = 1 if "/erc20:" in asset else WORTH * TOKEN_GAS * self.safe.chain.fee().max_fee
        return amount >= least and amount * GROWTH > promised and not self.earlier.why_dust(asset, amount)

    def _coin(self) -> str:
        native = next((a for a in self.assets if a.startswith(f"{self.chain_id}/slip44:")), None)
        return native or f"{self.chain_id}/slip44:60"


def amount_of(made: SafeTransaction) -> int:
    """Return what a plain transfer of the coin or of a token pays, in base units."""
    return made.value or int.from_bytes(made.data[_AMOUNT_FROM:], "big")
