"""Multisigs under the guardian's lock; implements `ports.multisig.MultisigControl`.

Rules:

- Tripping the guard is one transaction of the guardian. Where the guard is missing it is installed first, the module
  guard before the transaction guard, which from then on refuses a change of guards.
- A foreign guard is never replaced: what it forbids would be allowed again once ours is lifted.
- A Safe's address is the account's, or its ref where that is one: platform `safe` names Safes so.
- What holds is asked of the chain: guards in place with our code, locked, and no module beside a guard that this version
  of Safe has for modules.
- What a delay module holds back is skipped by the Safe's own owners, also while it is locked.
- A Safe whose master copy was replaced is past every lock: what was to hold there does not.
- A Safe that fails, or whose chain is away, keeps no other of the account from being worked on.
"""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from service.domain import guard, safe, threshold
from service.domain.account import Holder
from service.domain.errors import MissingCapabilityError, PortcullisError, RefusedByOtherSideError
from service.domain.ids import AccountId
from service.domain.plan import Receipt, Verdict
from service.domain.safe import SafeState
from service.domain.standing import Standing
from service.domain.threshold import Lower, Raise
from service.ports.multisig import SafeService
from service.vault.everywhere import all_hold, everywhere, require
from service.vault.guardian import PATIENCE_S, Guardian
from service.vault.parts import VaultParts
from service.vault.safe_out import Outgoing
from service.vault.safe_rest import earlier, following
from service.vault.safe_threshold import Raising
from service.vault.safes import Safe, UsurpedSafeError

_CAIP_10: Final = re.compile("eip155:[0-9]{1,20}:0x[0-9a-fA-F]{40}")
SIGNED_OFF_CHAIN: Final = "signatures_still_checked_off_chain_by"
"""In a lock's receipt: the fallback handler of each Safe that has one, by which EIP-1271 signatures go on to count."""
CAME_IN: Final = "came_in_beside_what_waits"
"""In a sweep's receipt: by Safe and asset, base units as text, what is proposed beside a proposal that waits."""
Question = Callable[[Safe, SafeState], bool]
Change = Callable[[Safe, SafeState], bytes | None]
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Multisigs:
    """See the port. `guardian` gives the guardian on a CAIP-2 chain; raises MissingCapabilityError without endpoint."""

    parts: VaultParts
    guardian: Callable[[str], Guardian]
    services: Mapping[str, SafeService] = field(default_factory=dict)
    """Safe transaction services by CAIP-2 chain."""

    def final(self) -> "Multisigs":
        """Return the same as the newest final blocks show them."""

        def guardian(chain: str) -> Guardian:
            found = self.guardian(chain)
            return replace(found, chain=found.chain.final())

        return replace(self, guardian=guardian)

    def standing(self, account: AccountId, transactions: Collection[str]) -> Standing:
        """Ask every Safe for its nonce, and its chain for these transactions."""

        def told(one: Safe) -> tuple[str, int, list[str]]:
            known = [name for name in transactions if one.chain.mined(name) is not None]
            return one.at, one.read().nonce, known

        found = self._at_each(account, told)
        return Standing({where: nonce for where, nonce, _ in found}, {name for *_, known in found for name in known})

    def lock(self, account: AccountId) -> Receipt:
        """Let nothing leave the account's Safes."""
        done = self._at_each(account, lambda one: (one.address, _lock_one(one), one.read().handler))
        facts: dict[str, object] = {"guards": {address: found for address, found, _ in done}}
        handlers = {address: handler for address, _, handler in done if handler != safe.ZERO}
        if handlers:
            facts[SIGNED_OFF_CHAIN] = handlers
        return Receipt(account, facts)

    def locked(self, account: AccountId) -> Verdict:
        """Ask the chain whether every Safe of the account is locked in every way out."""
        return self._every(account, _is_locked)

    def unlock(self, account: AccountId) -> Receipt:
        """Lift the guard where it is tripped."""

        def lift(one: Safe) -> None:
            found = one.guardian.guard()
            if found is not None and one.tripped(found):
                one.guardian.carry(found, guard.lift(one.address))

        self._at_each(account, lift)
        return Receipt(account, {})

    def unlocked(self, account: AccountId) -> Verdict:
        """Ask the chain whether no Safe of the account is locked any more."""
        return self._every(account, _is_free)

    def replace_owner(self, account: AccountId, owner: str, successor: str) -> Receipt:
        """Swap an owner for another on every chain where he is one."""

        def change(_: Safe, state: SafeState) -> bytes | None:
            return safe.swap_owner(state, owner, successor) if owner.lower() in state.owners else None

        return self._changed(account, owner, change)

    def owner_replaced(self, account: AccountId, owner: str, successor: str) -> Verdict:
        """Ask the chain for the owners."""
        return self._every(
            account, lambda _, state: owner.lower() not in state.owners and successor.lower() in state.owners
        )

    def remove_owner(self, account: AccountId, owner: str) -> Receipt:
        """Remove an owner and keep the threshold. Raises RefusedByOtherSideError when the others could not meet it."""

        def change(_: Safe, state: SafeState) -> bytes | None:
            if owner.lower() not in state.owners:
                return None
            if state.threshold > len(state.owners) - 1:
                left = len(state.owners) - 1
                raise RefusedByOtherSideError(
                    f"{left} owners cannot meet the threshold of {state.threshold}: replace the owner"
                )
            return safe.remove_owner(state, owner, state.threshold)

        return self._changed(account, owner, change)

    def owner_removed(self, account: AccountId, owner: str) -> Verdict:
        """Ask the chain for the owners."""
        return self._every(account, lambda _, state: owner.lower() not in state.owners)

    def raise_threshold(self, account: AccountId, wanted: Raise, before: Receipt | None = None) -> Receipt:
        """Note the Safes of which the chain says what people approved; with that note, raise those."""
        raising = Raising(wanted, before)
        self._at_each(account, raising.work, among=raising.noted or None)
        return raising.receipt(account)

    def threshold_raised(self, account: AccountId, wanted: Raise, before: Receipt | None) -> Verdict:
        """Ask the chain for the thresholds of those that are noted."""
        if not (noted := threshold.raises(before)):
            return Verdict.DOES_NOT_HOLD  # nothing is signed before that
        return self._every(account, lambda _, state: state.threshold >= wanted.signatures, among=noted)

    def restore_threshold(self, account: AccountId, safes: Mapping[str, Lower]) -> Receipt:
        """Lower these, and only from what they were raised to."""
        if not safes:
            raise MissingCapabilityError("no Safe is named that was raised: its owners lower it by hand")

        def change(one: Safe, state: SafeState) -> bytes | None:
            back = safes[one.at]
            if state.threshold <= back.before:
                return None
            if state.threshold != back.signatures:
                raise RefusedByOtherSideError(
                    f"{one.at} asks for {state.threshold} signatures now, and not for the {back.signatures} that it was"
                    " raised to: it is left alone, its owners lower it by hand"
                )
            return safe.change_threshold(state, back.before)

        return self._changed(account, None, change, among=safes)

    def threshold_restored(self, account: AccountId, safes: Mapping[str, Lower]) -> Verdict:
        """Ask the chain for the thresholds of these."""
        return self._every(account, lambda one, state: state.threshold <= safes[one.at].before, among=safes)

    def cancel_delayed(self, account: AccountId) -> Receipt:
        """Skip what delay modules hold back."""
        skipped: dict[str, int] = {}

        def skip(one: Safe) -> None:
            for module in _delaying(one, one.read()):
                last = _queue(one, module)[1]
                one.manage(one.read(), safe.call("setTxNonce(uint256)", last), to=module)
                skipped[module] = last

        self._at_each(account, skip)
        return Receipt(account, {"skipped_to": skipped})

    def delayed_cancelled(self, account: AccountId) -> Verdict:
        """Ask every module whether its queue is empty."""
        return self._every(account, lambda one, state: not _delaying(one, state))

    def sweep(self, account: AccountId, before: Receipt | None = None) -> Receipt:
        """Pay what the account's Safes hold to its safe destination."""
        out = self._sweeping(account, before)
        done = dict(self._at_each(account, lambda one: (one.address, out(one).sweep())))
        made = {address: found.transactions for address, found in done.items()}
        moved = {address: {asset: str(n) for asset, n in found.moved.items()} for address, found in done.items()}
        facts = following(before, made, moved)
        grown = {address: {asset: str(rest) for asset, rest in found.grown.items()} for address, found in done.items()}
        if any(grown.values()):
            facts[CAME_IN] = {address: rest for address, rest in grown.items() if rest}
        return Receipt(account, facts)

    def swept(self, account: AccountId, before: Receipt | None = None) -> Verdict:
        """Ask the chain whether anything is left, and the service whether that waits for other owners."""
        out = self._sweeping(account, before)
        return self._every(account, lambda one, _: out(one).is_swept())

    def rests(self, account: AccountId, before: Receipt | None = None) -> Sequence[Mapping[str, str]]:
        """Ask the chain what is left."""
        out = self._sweeping(account, before)
        return [rest.told for found in self._at_each(account, lambda one: out(one).rests()) for rest in found]

    def reject_pending(self, account: AccountId) -> Receipt:
        """Use up the nonces of what waits."""

        def reject(one: Safe) -> tuple[str, list[str]]:
            return one.address, self._out(one).reject()

        return Receipt(account, {"rejections": dict(self._at_each(account, reject))})

    def pending_rejected(self, account: AccountId) -> Verdict:
        """Ask the service whether anything waits at a nonce that the chain has not used."""
        return self._every(account, lambda one, _: self._out(one).is_rejected())

    def _sweeping(self, account: AccountId, before: Receipt | None) -> Callable[[Safe], Outgoing]:
        with self.parts.db.begin() as uow:
            assets = uow.keys.assets(account)
            usd = uow.keys.usd_of_units(account)
        return lambda one: replace(self._out(one), assets=assets, earlier=earlier(before, one.address, usd))

    def _out(self, one: Safe) -> Outgoing:
        return Outgoing(one, (), self.services.get(f"eip155:{one.guardian.chain_id}"))

    def _changed(
        self, account: AccountId, owner: str | None, change: Change, *, among: Collection[str] | None = None
    ) -> Receipt:
        done: dict[str, str] = {}

        def make(one: Safe) -> None:
            state = one.read()
            data = change(one, state)
            if data is not None:
                done[one.address] = one.manage(state, data, without=owner).transaction_hash

        self._at_each(account, make, among=among)
        return Receipt(account, {"transactions": done})

    def _every(self, account: AccountId, holds: Question, *, among: Collection[str] | None = None) -> Verdict:
        """Ask of every Safe, or of those `among` them.

        One that is known not to hold is enough, also while another cannot be asked.
        """

        def ask(chain: str, address: str, until: float) -> bool:
            one = self._safe(account, chain, address, until)
            try:
                return holds(one, one.read())
            except UsurpedSafeError:
                return False  # known: there is no lock on it, and its owners decide nothing

        try:
            places = self._places(account, among)
        except PortcullisError:
            return Verdict.CANNOT_TELL
        return all_hold(everywhere(places, ask, PATIENCE_S))

    def _at_each(self, account: AccountId, do: Callable[[Safe], R], *, among: Collection[str] | None = None) -> list[R]:
        """Do it at every Safe, or at those `among` them, whatever becomes of the others; then raise what failed."""

        def one(chain: str, address: str, until: float) -> R:
            return do(self._safe(account, chain, address, until))

        return require(everywhere(self._places(account, among), one, PATIENCE_S))

    def _safe(self, account: AccountId, chain: str, address: str, until: float) -> Safe:
        return Safe(self.parts, replace(self.guardian(chain), until=until), account, address)

    def _places(self, account_id: AccountId, among: Collection[str] | None = None) -> list[tuple[str, str]]:
        """Return the chain and address of every Safe, or of those `among` them (CAIP-10), none of which may be missing."""
        with self.parts.db.begin() as uow:
            account = uow.registry.account(account_id)
        if account.holder is not Holder.MULTISIG:
            raise MissingCapabilityError(
                f"account {account.at.ref} is no multisig: it is held by {account.holder.value}"
            )
        named = account.addresses or (account.at.ref,)
        found = [address.rpartition(":") for address in named if _CAIP_10.fullmatch(address)]
        if not found:
            raise MissingCapabilityError(
                f"account {account.at.ref} has no EVM address: register the Safe's own, as CAIP-10"
            )
        places = [(chain, address.lower()) for chain, _, address in found]
        if among is None:
            return places
        if gone := sorted(set(among) - {f"{chain}:{address}" for chain, address in places}):
            raise MissingCapabilityError(f"{gone[0]} is no address of account {account.at.ref} any more")
        return [(chain, address) for chain, address in places if f"{chain}:{address}" in among]


def _lock_one(one: Safe) -> str:
    found = one.guardian.guard() or one.guardian.create_guard()
    state = one.read()
    for name, there in (("transaction", state.guard), ("module", state.module_guard)):
        if there not in (safe.ZERO, found):
            raise RefusedByOtherSideError(f"{one.address} has another {name} guard, {there}: it is left alone")
    if state.has_module_guard and state.module_guard != found:
        one.manage(state, safe.set_module_guard(found))
        state = one.read()
    if state.guard != found:
        one.manage(state, safe.set_guard(found))
    if not one.tripped(found):
        one.guardian.carry(found, guard.lock(one.address))
    if state.modules and not state.has_module_guard:
        raise RefusedByOtherSideError(
            f"{one.address} is locked for its owners, and its {len(state.modules)} modules are not: Safe"
            f" {'.'.join(map(str, state.version))} cannot guard them. Disable them by hand"
        )
    return found


def _is_locked(one: Safe, state: SafeState) -> bool:
    found = one.guardian.guard()
    if found is None or state.guard != found or not one.tripped(found):
        return False
    return state.module_guard == found if state.has_module_guard else not state.modules


def _is_free(one: Safe, _: SafeState) -> bool:
    found = one.guardian.guard()
    return found is None or not one.tripped(found)


def _delaying(one: Safe, state: SafeState) -> list[str]:
    """Return the modules that hold something back."""
    return [module for module in state.modules if (queue := _queue(one, module))[0] < queue[1]]


def _queue(one: Safe, module: str) -> tuple[int, int]:
    """Return a module's next and last place in its queue; (0, 0) for a module that has none."""
    try:
        raw = [one.chain.call(module, safe.call(name)) for name in ("txNonce()", "queueNonce()")]
    except PortcullisError as error:
        if "revert" in str(error).lower():
            return 0, 0
        raise
    if not all(raw):
        return 0, 0
    following, last = (int(str(safe.answered("uint256", one_raw, "queueNonce"))) for one_raw in raw)
    return following, last
