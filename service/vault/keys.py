"""The vault as containment uses it; implements `ports.keys.VaultKeys`.

Rules: every method may be repeated; what it says holds is asked of the token and the chain, not only of our rows.
"""

from hsm.custodian import KeyRef
from hsm.errors import KeyNotFoundError
from hsm.keypath import DerivationPath
from hsm.restrictions import KeyState
from hsm.rotation import Destroy, Publish, Retire, State, Sweep
from service.domain.errors import ConflictError, MissingCapabilityError, NotFoundError
from service.domain.ids import AccountId
from service.domain.plan import Receipt, Verdict
from service.domain.timeline import Entry
from service.domain.vault import VaultKey
from service.vault import provision, rotations, sweeper
from service.vault.parts import VaultParts, token_calls


class Vault:
    """See the port."""

    def __init__(self, parts: VaultParts) -> None:
        self._parts = parts

    def provision(self, account: AccountId) -> Receipt:
        """Create the account's wallet and leaf, and sign its safe destinations."""
        return provision.provision(self._parts, account)

    def restrict(self, account: AccountId, *, key: str) -> Receipt:
        """Let the account's keys sign only sweeps and same-nonce cancels."""
        old, _ = self._split(account)
        self._move(account, [k for k in old if k.state == KeyState.ACTIVE.value], KeyState.RESTRICTED, key)
        return Receipt(account, {"keys": [k.id for k in old]})

    def restricted(self, account: AccountId) -> Verdict:
        """Ask whether no old key may sign freely."""
        old, _ = self._split(account)
        return Verdict.DOES_NOT_HOLD if any(k.state == KeyState.ACTIVE.value for k in old) else Verdict.HOLDS

    def lift_restriction(self, account: AccountId, *, key: str) -> Receipt:
        """Let restricted keys sign again; retired ones stay retired."""
        old, _ = self._split(account)
        self._move(account, [k for k in old if k.state == KeyState.RESTRICTED.value], KeyState.ACTIVE, key)
        return Receipt(account, {"keys": [k.id for k in old]})

    def prepare_rotation(self, account: AccountId, scope: str, *, key: str) -> Receipt:
        """Generate and verify new keys; work out, do not send, the sweep."""
        record = rotations.open_rotation(self._parts, account, scope)
        chain = self._parts.keys_of(account)[0].chain
        new = rotations.generate(self._parts, record, chain)
        old, _ = self._split(account)
        prepared = sweeper.holdings(self._parts, account, old)
        return Receipt(record.id, {"address": f"{chain}:{new.address}", "sweep": prepared, "step": key})

    def rotation_prepared(self, account: AccountId) -> Verdict:
        """Ask whether the new key is in the token and answered to its xpub."""
        try:
            record = rotations.find_rotation(self._parts, account)
        except NotFoundError:
            return Verdict.DOES_NOT_HOLD
        _, new = self._split(account)
        if new is None or State(record.state) in (State.PROPOSED, State.GENERATED, State.FAILED):
            return Verdict.DOES_NOT_HOLD
        with token_calls():
            there = self._parts.token.exists(_ref(new))
        return Verdict.HOLDS if there else Verdict.DOES_NOT_HOLD

    def rotation_address(self, account: AccountId) -> str:
        """Return the CAIP-10 address of the new key."""
        _, new = self._split(account)
        if new is None:
            raise NotFoundError(f"account {account} has no prepared rotation: prepare it first")
        return f"{new.chain}:{new.address}"

    def sweep(self, account: AccountId, *, key: str) -> Receipt:
        """Send everything the old keys hold to the verified safe destination."""
        old, _ = self._split(account)
        hashes = sweeper.sweep(self._parts, account, self._usable(old), key)
        return Receipt(key, {"transactions": list(hashes)})

    def swept(self, account: AccountId) -> Verdict:
        """Ask the chain whether every sweep is final and nothing is left."""
        old, _ = self._split(account)
        return sweeper.swept(self._parts, account, self._usable(old))

    def retire(self, account: AccountId, *, key: str) -> Receipt:
        """Make the new keys current and the old ones unable to sign."""
        record = rotations.find_rotation(self._parts, account)
        old, new = self._split(account)
        if new is None:
            raise ConflictError(f"account {account} has no new key yet: prepare the rotation first")
        if self.swept(account) is not Verdict.HOLDS:
            raise ConflictError(f"the old addresses of {account} are not empty yet: sweep them first")
        record = rotations.advance(self._parts, record, Publish(key))
        with self._parts.db.begin() as uow:
            hashes = [s.transaction_hash for s in uow.keys.sweeps(account)]
        record = rotations.advance(self._parts, record, Sweep(key, ",".join(hashes) or "nothing was left"))
        with token_calls():
            for leaf in old:
                self._parts.token.disable(_ref(leaf))
        self._move(account, old, KeyState.RETIRED, key)
        rotations.advance(self._parts, record, Retire(key))
        with self._parts.db.begin() as uow:
            uow.keys.reserve_path(account, record.new_wallet_id, record.new_path)
            uow.keys.provisioned(account, [f"{new.chain}:{new.address}"])
        return Receipt(record.id, {"address": f"{new.chain}:{new.address}"})

    def retired(self, account: AccountId) -> Verdict:
        """Ask the token whether any old key could still sign."""
        old, new = self._split(account)
        if new is None:
            return Verdict.DOES_NOT_HOLD
        with token_calls():
            able = any(self._able(leaf) for leaf in old)
        return Verdict.DOES_NOT_HOLD if able else Verdict.HOLDS

    def destroy(self, account: AccountId, *, key: str) -> Receipt:
        """Destroy the retired keys."""
        record = rotations.find_rotation(self._parts, account)
        old, _ = self._split(account)
        if any(k.state not in (KeyState.RETIRED.value, KeyState.DESTROYED.value) for k in old):
            raise ConflictError(f"account {account} has keys that are not retired: retire them first")
        with token_calls():
            for leaf in old:
                self._parts.token.destroy(_ref(leaf))
        self._move(account, old, KeyState.DESTROYED, key)
        rotations.advance(self._parts, record, Destroy(key))
        return Receipt(record.id, {"keys": [k.id for k in old]})

    def destroyed(self, account: AccountId) -> Verdict:
        """Ask the token whether any old key is still there."""
        old, _ = self._split(account)
        with token_calls():
            there = any(self._parts.token.exists(_ref(leaf)) for leaf in old)
        return Verdict.DOES_NOT_HOLD if there else Verdict.HOLDS

    def _split(self, account: AccountId) -> tuple[tuple[VaultKey, ...], VaultKey | None]:
        keys = self._parts.keys_of(account)
        try:
            record = rotations.find_rotation(self._parts, account)
        except NotFoundError:
            return keys, None
        return rotations.split(record, keys)

    def _usable(self, keys: tuple[VaultKey, ...]) -> tuple[VaultKey, ...]:
        usable = tuple(k for k in keys if k.state in (KeyState.ACTIVE.value, KeyState.RESTRICTED.value))
        if not usable:
            raise MissingCapabilityError("every old key is retired: nothing can be swept from its address any more")
        return usable

    def _able(self, leaf: VaultKey) -> bool:
        try:
            return self._parts.token.may_sign(_ref(leaf))
        except KeyNotFoundError:
            return False

    def _move(self, account: AccountId, keys: list[VaultKey] | tuple[VaultKey, ...], state: KeyState, by: str) -> None:
        if not keys:
            return
        with self._parts.db.begin() as uow:
            for leaf in keys:
                uow.keys.set_key_state(leaf.id, state.value)
            uow.record(
                Entry(
                    kind=f"keys.{state.value}",
                    at=uow.now,
                    subject=account,
                    sentence=f"Keys of account {account} are now {state.value}",
                    facts={"keys": [k.id for k in keys], "step": by},
                )
            )


def _ref(key: VaultKey) -> KeyRef:
    return KeyRef(key.wallet_id, DerivationPath.parse(key.path))
