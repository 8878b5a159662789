"""Changes of the vault's rows that every kind of wallet makes, each with its entry in the timeline, in one transaction."""

from collections.abc import Mapping, Sequence

from hsm.restrictions import KeyState
from service.domain.ids import AccountId
from service.domain.plan import Receipt
from service.domain.timeline import Entry
from service.domain.vault import SweepState, SweepTransaction, VaultKey
from service.ports.keys import StillMine
from service.ports.store.unit import UnitOfWork
from service.vault.parts import VaultParts


def move_sweep(parts: VaultParts, row: SweepTransaction, state: SweepState, why: str = "") -> None:
    """Record that a transaction of ours was sent, once more too, is in a block or failed; `why` is of a failed one."""
    words = {
        SweepState.SENT: "sent" if row.state is SweepState.SIGNED else "sent again: its chain did not know it any more",
        SweepState.FINAL: "final",
        SweepState.FAILED: f"failed: {why}",
    }
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


def move_keys(
    uow: UnitOfWork, account: AccountId, keys: Sequence[VaultKey], before: KeyState, after: KeyState, by: str
) -> None:
    """Move those of an account's keys that are in the state `before` by now; `by`: key of the step that decided it."""
    moved = uow.keys.set_key_state([key.id for key in keys], (before.value,), after.value)
    if moved:
        sentence = f"Keys of account {account} are now {after.value}"
        facts = {"keys": list(moved), "step": by}
        uow.record(Entry(kind=f"keys.{after.value}", at=uow.now, subject=account, sentence=sentence, facts=facts))


def restrict_keys(parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], by: str) -> Receipt:
    """Keep those of the keys that sign freely to what still may be signed; `by`: key of the step that decided it."""
    with parts.db.begin() as uow:
        move_keys(uow, account, keys, KeyState.ACTIVE, KeyState.RESTRICTED, by)
    return Receipt(account, {"keys": [key.id for key in keys]})


def free_keys(
    parts: VaultParts, account: AccountId, keys: Sequence[VaultKey], by: str, still_mine: StillMine
) -> Receipt:
    """Let those of the keys that are restricted sign again, unless `still_mine`, asked once they are locked, raises."""
    with parts.db.begin() as uow:
        move_keys(uow, account, keys, KeyState.RESTRICTED, KeyState.ACTIVE, by)
        still_mine(uow)
    return Receipt(account, {"keys": [key.id for key in keys]})


def end_provisioning(
    uow: UnitOfWork, account: AccountId, addresses: Sequence[str], has: str, facts: Mapping[str, object]
) -> None:
    """Make the account ready under its CAIP-10 addresses; the entry, written once, says what it has."""
    if uow.keys.provisioned(account, addresses):
        told = {"addresses": list(addresses), **facts}
        uow.record(Entry(kind="account.provisioned", at=uow.now, subject=account, sentence=has, facts=told))
