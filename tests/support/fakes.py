"""In-memory platform and vault that implement the ports: what they hold is asked of them, not of the caller."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from service.domain.account import AccountRef
from service.domain.errors import MissingCapabilityError, NotFoundError, UnknownOutcomeError
from service.domain.ids import AccountId
from service.domain.plan import Receipt, Verdict, opposite
from service.domain.standing import Standing
from service.domain.threshold import Lower, Raise
from service.ports.custody import Capability, PendingChange, PendingTransfer
from service.ports.keys import StillMine
from service.ports.notify import OutsideLetter


def verdict(holds: bool) -> Verdict:  # noqa: FBT001  a truth value is what it turns
    return Verdict.HOLDS if holds else Verdict.DOES_NOT_HOLD


@dataclass
class Ledger:
    """Effects by name, and every call that came."""

    holding: set[str] = field(default_factory=set)
    keys: set[str] = field(default_factory=set)
    calls: list[tuple[str, str]] = field(default_factory=list)
    lose_next_answer: bool = False
    blind: bool = False
    """Cannot be asked."""
    deaf: bool = False
    """A lost call did not even arrive."""

    def do(self, effect: str, key: str, *, holds: bool = True) -> Receipt:
        self.calls.append((effect, key))
        if self.lose_next_answer:
            self.lose_next_answer = False
            if not self.deaf:
                self._apply(effect, key, holds=holds)
            raise UnknownOutcomeError("the answer was lost")
        self._apply(effect, key, holds=holds)
        return Receipt(f"receipt of {key}", {})

    def _apply(self, effect: str, key: str, *, holds: bool) -> None:
        if key in self.keys:
            return
        self.keys.add(key)
        (self.holding.add if holds else self.holding.discard)(effect)

    def ask(self, effect: str) -> Verdict:
        return Verdict.CANNOT_TELL if self.blind else verdict(effect in self.holding)


class FakePlatform:
    """Implements `ports.custody.ContainmentCalls`."""

    ours: frozenset[Capability] = frozenset()

    def __init__(self, ledger: Ledger, capabilities: frozenset[Capability] = frozenset(Capability)) -> None:
        self.ledger = ledger
        self._capabilities = capabilities
        self.waiting: list[PendingTransfer] = []
        self.sent: list[PendingTransfer] = []
        self.mined: set[str] = set()
        """Transactions that got into a block, dropped or not."""
        self.changes: list[PendingChange] = []

    @property
    def capabilities(self) -> frozenset[Capability]:
        return self._capabilities

    def lacks(self, capability: Capability) -> str:
        return f"the fake has no {capability.value}: do it by hand"

    def settled(self, key: str) -> Verdict:
        return Verdict.CANNOT_TELL if self.ledger.blind else verdict(key in self.ledger.keys)

    def hold_outgoing(self, account: AccountRef, *, key: str) -> Receipt:
        return self.ledger.do(f"hold {account.entity}", key)

    def outgoing_held(self, account: AccountRef) -> Verdict:
        return self.ledger.ask(f"hold {account.entity}")

    def release_outgoing(self, account: AccountRef, *, key: str) -> Receipt:
        return self.ledger.do(f"hold {account.entity}", key, holds=False)

    def pending(self, account: AccountRef) -> Iterator[PendingTransfer]:
        yield from (t for t in self.waiting if t.account == account.ref)

    def cancel(self, account: AccountRef, transaction: str, *, key: str) -> Receipt:
        return self.ledger.do(f"cancel {account.entity} {transaction}", key)

    def cancelled(self, transaction: str) -> Verdict:
        done = any(effect.endswith(f" {transaction}") for effect in self.ledger.holding)
        return Verdict.CANNOT_TELL if self.ledger.blind else verdict(done)

    def broadcast(self, account: AccountRef) -> Iterator[PendingTransfer]:
        yield from (t for t in self.sent if t.account == account.ref and t.transaction not in self.mined)

    def drop(self, account: AccountRef, transaction: str, *, key: str) -> Receipt:
        return self.ledger.do(f"drop {account.entity} {transaction}", key)

    def dropped(self, transaction: str) -> Verdict:
        done = any(e.startswith("drop ") and e.endswith(f" {transaction}") for e in self.ledger.holding)
        return Verdict.CANNOT_TELL if self.ledger.blind else verdict(done and transaction not in self.mined)

    def lock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt:
        return self.ledger.do(f"lock {destination}", key)

    def destination_locked(self, destination: str) -> Verdict:
        return self.ledger.ask(f"lock {destination}")

    def unlock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt:
        return self.ledger.do(f"lock {destination}", key, holds=False)

    def revoke_credential(self, account: AccountRef | None, actor: str, *, key: str) -> Receipt:
        return self.ledger.do(f"revoke {actor}", key)

    def credential_revoked(self, actor: str) -> Verdict:
        return self.ledger.ask(f"revoke {actor}")

    def forbid_one_time_addresses(self, *, key: str) -> Receipt:
        return self.ledger.do("no one-time addresses", key)

    def one_time_addresses_forbidden(self) -> Verdict:
        return self.ledger.ask("no one-time addresses")

    def allow_one_time_addresses(self, *, key: str) -> Receipt:
        return self.ledger.do("no one-time addresses", key, holds=False)

    def freeze_workspace(self, *, key: str) -> Receipt:
        return self.ledger.do("frozen", key)

    def workspace_frozen(self) -> Verdict:
        return self.ledger.ask("frozen")

    def freeze_account(self, account: AccountRef, *, seconds: int, key: str) -> Receipt:
        return self.ledger.do(f"freeze {account.entity}", key)

    def account_frozen(self, account: AccountRef, *, seconds: int) -> Verdict:
        return self.ledger.ask(f"freeze {account.entity}")

    def publish_address(self, account: AccountRef, address: str, *, key: str) -> Receipt:
        return self.ledger.do(f"publish {account.entity} {address}", key)

    def address_published(self, account: AccountRef, address: str) -> Verdict:
        return self.ledger.ask(f"publish {account.entity} {address}")

    def pending_changes(self) -> Iterator[PendingChange]:
        yield from self.changes

    def reject_change(self, change: str, *, key: str) -> Receipt:
        return self.ledger.do(f"reject {change}", key)

    def change_rejected(self, change: str) -> Verdict:
        return self.ledger.ask(f"reject {change}")


class PlatformWithout(FakePlatform):
    """Lacks everything and says so when called."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger, frozenset())

    def hold_outgoing(self, account: AccountRef, *, key: str) -> Receipt:
        raise MissingCapabilityError(self.lacks(Capability.HOLD_OUTGOING))


class FakeMultisig:
    """Implements `ports.multisig.MultisigControl`."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def final(self) -> "FakeMultisig":
        return self

    def standing(self, account: AccountId, transactions: Collection[str]) -> Standing:
        return Standing({account: len(self.ledger.holding)}, transactions)

    def lock(self, account: AccountId) -> Receipt:
        return self._do(f"lock multisig {account}")

    def locked(self, account: AccountId) -> Verdict:
        return self.ledger.ask(f"lock multisig {account}")

    def unlock(self, account: AccountId) -> Receipt:
        return self._do(f"lock multisig {account}", holds=False)

    def unlocked(self, account: AccountId) -> Verdict:
        return opposite(self.ledger.ask(f"lock multisig {account}"))

    def replace_owner(self, account: AccountId, owner: str, successor: str) -> Receipt:
        return self._do(f"replace {owner} of {account} by {successor}")

    def owner_replaced(self, account: AccountId, owner: str, successor: str) -> Verdict:
        return self.ledger.ask(f"replace {owner} of {account} by {successor}")

    def remove_owner(self, account: AccountId, owner: str) -> Receipt:
        return self._do(f"remove {owner} of {account}")

    def owner_removed(self, account: AccountId, owner: str) -> Verdict:
        return self.ledger.ask(f"remove {owner} of {account}")

    def raise_threshold(self, account: AccountId, wanted: Raise, before: Receipt | None = None) -> Receipt:
        return self._do(f"raise threshold of {account}")

    def threshold_raised(self, account: AccountId, wanted: Raise, before: Receipt | None) -> Verdict:
        return self.ledger.ask(f"raise threshold of {account}")

    def restore_threshold(self, account: AccountId, safes: Mapping[str, Lower]) -> Receipt:
        return self._do(f"raise threshold of {account}", holds=False)

    def threshold_restored(self, account: AccountId, safes: Mapping[str, Lower]) -> Verdict:
        return opposite(self.ledger.ask(f"raise threshold of {account}"))

    def cancel_delayed(self, account: AccountId) -> Receipt:
        return self._do(f"cancel delayed {account}")

    def delayed_cancelled(self, account: AccountId) -> Verdict:
        return self.ledger.ask(f"cancel delayed {account}")

    def sweep(self, account: AccountId, before: Receipt | None = None) -> Receipt:
        return self._do(f"sweep multisig {account}")

    def swept(self, account: AccountId, before: Receipt | None = None) -> Verdict:
        return self.ledger.ask(f"sweep multisig {account}")

    def rests(self, account: AccountId, before: Receipt | None = None) -> Sequence[Mapping[str, str]]:
        return ()

    def reject_pending(self, account: AccountId) -> Receipt:
        return self._do(f"reject pending {account}")

    def pending_rejected(self, account: AccountId) -> Verdict:
        return self.ledger.ask(f"reject pending {account}")

    def _do(self, effect: str, *, holds: bool = True) -> Receipt:
        """A multisig needs no key of ours: the chain says what is so already."""
        self.ledger.keys.discard(effect)
        return self.ledger.do(effect, effect, holds=holds)


class FakeOutside:
    """Implements `ports.notify.Outside`."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def send(self, letter: OutsideLetter, *, key: str) -> Receipt:
        return self.ledger.do(f"letter {key}", key)

    def sent(self, key: str) -> Verdict:
        return self.ledger.ask(f"letter {key}")


class FakeVault:
    """Implements `ports.keys.VaultKeys`."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def provision(self, account: AccountId) -> Receipt:
        return self.ledger.do(f"provision {account}", f"provision {account}")

    def restrict(self, account: AccountId, *, key: str) -> Receipt:
        return self.ledger.do(f"restrict {account}", key)

    def restricted(self, account: AccountId) -> Verdict:
        return self.ledger.ask(f"restrict {account}")

    def lift_restriction(self, account: AccountId, *, key: str, still_mine: StillMine) -> Receipt:
        return self.ledger.do(f"restrict {account}", key, holds=False)

    def final(self) -> "FakeVault":
        return self

    def standing(self, account: AccountId, transactions: Collection[str]) -> Standing:
        return Standing({account: len(self.ledger.holding)}, transactions)

    def replace_pending(self, account: AccountId, up_to: Mapping[str, int], *, key: str) -> Receipt:
        return self.ledger.do(f"replace pending {account}", key)

    def pending_replaced(self, account: AccountId, up_to: Mapping[str, int]) -> Verdict:
        return self.ledger.ask(f"replace pending {account}")

    def revoke_allowances(self, account: AccountId, *, key: str) -> Receipt:
        return self.ledger.do(f"revoke allowances {account}", key)

    def allowances_revoked(self, account: AccountId) -> Verdict:
        return self.ledger.ask(f"revoke allowances {account}")

    def prepare_rotation(self, account: AccountId, scope: str, *, key: str) -> Receipt:
        return self.ledger.do(f"prepare {account}", key)

    def rotation_prepared(self, account: AccountId) -> Verdict:
        return self.ledger.ask(f"prepare {account}")

    def rotation_address(self, account: AccountId) -> str:
        if f"prepare {account}" not in self.ledger.holding:
            raise NotFoundError("no rotation is prepared")
        return f"eip155:1:0xnew-{account}"

    def sweep(self, account: AccountId, *, key: str) -> Receipt:
        return self.ledger.do(f"sweep {account}", key)

    def swept(self, account: AccountId, *, key: str = "") -> Verdict:
        return self.ledger.ask(f"sweep {account}")

    def retire(self, account: AccountId, *, key: str) -> Receipt:
        return self.ledger.do(f"retire {account}", key)

    def retired(self, account: AccountId) -> Verdict:
        return self.ledger.ask(f"retire {account}")

    def destroy(self, account: AccountId, *, key: str) -> Receipt:
        return self.ledger.do(f"destroy {account}", key)

    def destroyed(self, account: AccountId) -> Verdict:
        return self.ledger.ask(f"destroy {account}")

    def destroy_due(self, account: AccountId) -> int:
        return 1 if self.ledger.ask(f"destroy {account}") is Verdict.HOLDS else 0
