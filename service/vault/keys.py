"""The vault as containment uses it; implements `ports.keys.VaultKeys`.

Rules: every method may be repeated, also after later ones; what it says holds is asked of the token and the chain, not
only of our rows. What is restricted and swept is every key that may sign, except the new key of a rotation that has not
replaced the old ones yet. What comes to the address of a retired key stops nothing: no step could move it. A key's state
moves only from the one that the step leads from, and a step that loosens moves it only while its worker's lease lasts. A
sweep that is repeated after its keys were replaced moves nothing but what it had signed. Destroying is decided by a quorum
and done by a job when its delay is over: the decision is a row, and all that such a row can do is destroy a key that signs
nothing any more.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Final

from hsm.errors import KeyNotFoundError
from hsm.restrictions import KeyState
from hsm.rotation import Retire, State, Sweep
from service.domain.errors import ConflictError, NotFoundError, PortcullisError
from service.domain.ids import AccountId
from service.domain.plan import Receipt, Verdict
from service.domain.standing import Standing
from service.domain.vault import RotationRecord, SweepState, SweepTransaction, VaultKey
from service.ports.keys import StillMine
from service.ports.store.unit import UnitOfWork
from service.vault import destruction, hot, provision, rotations, sweeper
from service.vault.entries import free_keys, restrict_keys
from service.vault.parts import VaultParts, ref_of, token_calls
from service.vault.stranded import stranded

_SIGNING: Final = frozenset({KeyState.ACTIVE.value, KeyState.RESTRICTED.value})


class Vault:
    """See the port."""

    def __init__(self, parts: VaultParts) -> None:
        self._parts = parts

    def provision(self, account: AccountId) -> Receipt:
        """Create the account's wallet and leaf, and sign its safe destinations."""
        return provision.provision(self._parts, account)

    def restrict(self, account: AccountId, *, key: str) -> Receipt:
        """Let the account's keys sign only sweeps and same-nonce cancels."""
        return restrict_keys(self._parts, account, self._exposed(account), key)

    def restricted(self, account: AccountId) -> Verdict:
        """Ask whether no exposed key may sign freely."""
        free = any(k.state == KeyState.ACTIVE.value for k in self._exposed(account))
        return Verdict.DOES_NOT_HOLD if free else Verdict.HOLDS

    def lift_restriction(self, account: AccountId, *, key: str, still_mine: StillMine) -> Receipt:
        """Let restricted keys sign again; retired ones stay retired."""
        return free_keys(self._parts, account, self._exposed(account), key, still_mine)

    def final(self) -> "Vault":
        """See the port."""
        return Vault(replace(self._parts, at_last=True))

    def standing(self, account: AccountId, transactions: Collection[str]) -> Standing:
        """Ask every chain of the account for the nonces of all its keys, and for these transactions."""
        return hot.standing(self._parts, account, self._parts.keys_of(account), transactions)

    def replace_pending(self, account: AccountId, up_to: Mapping[str, int], *, key: str) -> Receipt:
        """Outbid every pending transaction of the account's keys by one that moves nothing."""
        names = hot.replace_pending(self._parts, account, self._exposed(account), up_to)
        return Receipt(key, {"transactions": names})

    def pending_replaced(self, account: AccountId, up_to: Mapping[str, int]) -> Verdict:
        """Ask the chain whether anything is pending."""
        return hot.none_pending(self._parts, account, self._exposed(account), up_to)

    def revoke_allowances(self, account: AccountId, *, key: str) -> Receipt:
        """Take back every allowance of the account's tokens."""
        return Receipt(key, {"transactions": hot.revoke(self._parts, account, self._exposed(account))})

    def allowances_revoked(self, account: AccountId) -> Verdict:
        """Ask the tokens whether anybody has an allowance."""
        return hot.none_allowed(self._parts, account, self._exposed(account))

    def prepare_rotation(self, account: AccountId, scope: str, *, key: str) -> Receipt:
        """Generate and verify new keys; work out, do not send, the sweep."""
        keys = self._parts.keys_of(account)
        record = rotations.open_rotation(self._parts, account, scope, key)
        _, new = rotations.split(record, keys)
        if not new or not rotations.is_over(record):
            new = rotations.generate(self._parts, record, keys)
        addresses = [f"{k.chain}:{k.address}" for k in new]
        facts = {"address": addresses[0], "addresses": addresses, "sweep": self._prepared(account), "step": key}
        return Receipt(record.id, facts)

    def rotation_prepared(self, account: AccountId) -> Verdict:
        """Ask whether the new keys answered to their xpub, and the first of them still does."""
        record, _, new = self._split(account)
        if record is None or not new or State(record.state) in (State.PROPOSED, State.GENERATED, State.FAILED):
            return Verdict.DOES_NOT_HOLD
        return Verdict.HOLDS if rotations.still_answers(self._parts, record, new) else Verdict.DOES_NOT_HOLD

    def rotation_address(self, account: AccountId) -> str:
        """Return the CAIP-10 address of the first new key."""
        _, _, new = self._split(account)
        if not new:
            raise NotFoundError(f"account {account} has no prepared rotation: prepare it first")
        return f"{new[0].chain}:{new[0].address}"

    def sweep(self, account: AccountId, *, key: str) -> Receipt:
        """Send everything the exposed keys hold to the verified safe destination."""
        exposed = self._exposed(account)
        with self._parts.db.begin() as uow:
            # Asked after the keys were read: these are the home's, or older ones that sign no more.
            home = rotations.home_of(uow, account)
            mine = uow.keys.begin_sweep(account, key, home) == home
        left: Sequence[str] = ()
        if mine:
            left = sweeper.sweep(self._parts, account, exposed, key)
        else:
            sweeper.send_dropped(self._parts, account)
        told = {"left": list(left)} if left else {}
        return Receipt(key, {"transactions": list(self._hashes(account)), **told})

    def swept(self, account: AccountId, *, key: str = "") -> Verdict:
        """Ask the chain whether every sweep is final and nothing is left."""
        with self._parts.db.begin() as uow:
            begun, home = uow.keys.begun_sweep(account, key), rotations.home_of(uow, account)
        if begun is None or begun == home:
            return sweeper.swept(self._parts, account, self._exposed(account))
        replaced = [k for k in self._parts.keys_of(account) if rotations.is_at(k, begun)]
        return sweeper.swept(self._parts, account, replaced)

    def retire(self, account: AccountId, *, key: str) -> Receipt:
        """Make the new keys current and the old ones unable to sign."""
        record, old, new = self._split(account)
        if record is None or not new:
            raise ConflictError(f"account {account} has no new key yet: prepare the rotation first")
        address = {"address": f"{new[0].chain}:{new[0].address}"}
        if rotations.is_over(record):
            return Receipt(record.id, address)
        with self._parts.db.begin() as uow:
            provision.require_whole(uow, account, [record.new_wallet_id])
        if self.swept(account) is not Verdict.HOLDS:
            raise ConflictError(f"the old addresses of {account} are not empty yet: sweep them first")
        own = [k for k in old if k.state in _SIGNING]
        rotations.advance(self._parts, record, _emptied_by(self._sent(account), own, key))
        with token_calls():
            self._parts.token.disable(*(ref_of(k) for k in old if k.state != KeyState.DESTROYED.value))

        def replace_keys(uow: UnitOfWork, now: RotationRecord) -> None:
            provision.require_whole(uow, account, [now.new_wallet_id])
            uow.keys.set_key_state([k.id for k in old], _SIGNING, KeyState.RETIRED.value)
            chains = provision.chains_of(uow.keys.assets(account))
            uow.keys.reserve_path(account, now.new_wallet_id, now.new_path)
            addresses = provision.addresses_of(new, now.new_wallet_id, now.new_path, chains)
            uow.keys.provisioned(account, addresses)

        record = rotations.advance(self._parts, record, Retire(key), replace_keys)
        return Receipt(record.id, address)

    def retired(self, account: AccountId) -> Verdict:
        """Ask the token whether any old key could still sign."""
        record, old, new = self._split(account)
        if record is None or not new or not rotations.is_over(record):
            return Verdict.DOES_NOT_HOLD
        with token_calls():
            able = any(self._able(leaf) for leaf in old)
        return Verdict.DOES_NOT_HOLD if able else Verdict.HOLDS

    def destroy(self, account: AccountId, *, key: str) -> Receipt:
        """Decide that retired keys, of earlier rotations too, are destroyed after a delay; say what their addresses hold."""
        doomed = destruction.decide(self._parts, account, key)
        record = rotations.find_rotation(self._parts, account)
        left = stranded(self._parts, account, [k for k in doomed if k.state != KeyState.DESTROYED.value])
        return Receipt(record.id, {"keys": [k.id for k in doomed], **({"left": list(left)} if left else {})})

    def destroyed(self, account: AccountId) -> Verdict:
        """Ask whether every replaced key is gone from the token, or nothing stands before it but its delay."""
        record, old, _ = self._split(account)
        if record is None or not rotations.is_over(record):
            return Verdict.DOES_NOT_HOLD
        with token_calls():
            there = any(self._parts.token.exists(ref_of(leaf)) for leaf in old if leaf.destroy_from is None)
        return Verdict.DOES_NOT_HOLD if there else Verdict.HOLDS

    def destroy_due(self, account: AccountId) -> int:
        """Destroy the retired keys whose delay is over; return how many are gone now. Safe to repeat at any point."""
        due = destruction.due(self._parts, account)
        if not due:
            return 0
        with token_calls():
            self._parts.token.destroy(*(ref_of(k) for k in due))
        with self._parts.db.begin() as uow:
            record = uow.keys.rotation(account)
            destruction.note_gone(uow, account, due)
            if record is not None:
                rotations.end_destroyed(uow, record)
        return len(due)

    def _split(self, account: AccountId) -> tuple[RotationRecord | None, tuple[VaultKey, ...], tuple[VaultKey, ...]]:
        keys = self._parts.keys_of(account)
        with self._parts.db.begin() as uow:
            record = uow.keys.rotation(account)
        return record, *rotations.split(record, keys)

    def _exposed(self, account: AccountId) -> tuple[VaultKey, ...]:
        """Return the keys that an attacker may hold and that may still sign: their addresses are what a sweep empties."""
        record, old, new = self._split(account)
        every = old if record is not None and not rotations.is_over(record) else (*old, *new)
        return tuple(k for k in every if k.state in _SIGNING)

    def _prepared(self, account: AccountId) -> dict[str, object]:
        try:
            return {"holds": sweeper.holdings(self._parts, account, self._exposed(account))}
        except PortcullisError as error:
            # New keys are worth having even where nothing can be said of the old ones' balances.
            return {"lacking": str(error)}

    def _hashes(self, account: AccountId) -> Sequence[str]:
        return [s.transaction_hash for s in self._sent(account)]

    def _sent(self, account: AccountId) -> Sequence[SweepTransaction]:
        with self._parts.db.begin() as uow:
            return [s for s in uow.keys.sweeps(account) if s.state is not SweepState.FAILED]

    def _able(self, leaf: VaultKey) -> bool:
        try:
            return self._parts.token.may_sign(ref_of(leaf))
        except KeyNotFoundError:
            return False


def _emptied_by(sent: Sequence[SweepTransaction], own: Sequence[VaultKey], key: str) -> Sweep:
    """Return what emptied a rotation's own old addresses, by the steps that sent it; `key` is of who found them empty."""
    emptied = [s for s in sent if s.from_address in {one.address for one in own}]
    if not emptied:
        return Sweep(key, "nothing was left")
    return Sweep(",".join(dict.fromkeys(s.step_key for s in emptied)), ",".join(s.transaction_hash for s in emptied))
