"""Retired keys are destroyed late: a quorum decides, a delay follows in which a mistake can be noticed.

Rules: the time is a row, written once; what is destroyed is found by it, so a decision that was taken is carried out whoever
restarts, and never earlier. A step decides once: keys that are retired afterwards were not what it was approved for.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from hsm.restrictions import KeyState
from service.domain.errors import ConflictError
from service.domain.ids import AccountId
from service.domain.timeline import Entry
from service.domain.vault import VaultKey
from service.ports.store.unit import UnitOfWork
from service.vault.entries import move_keys
from service.vault.parts import VaultParts

DESTROY_AFTER: Final = timedelta(hours=72)
"""How long a retired key stays in the token once a quorum decided to destroy it: time to notice a mistake."""


def decide(parts: VaultParts, account: AccountId, step_key: str) -> tuple[VaultKey, ...]:
    """Write down from when the retired keys, also those of an earlier rotation, are destroyed; return all that go or went.

    Raises ConflictError for an account without retired keys.
    """
    keys = parts.keys_of(account)
    decided = any(k.destroy_by == step_key for k in keys)
    retired = tuple(k for k in keys if k.state == KeyState.RETIRED.value)
    gone = tuple(k for k in keys if k.state == KeyState.DESTROYED.value)
    if not retired and not gone:
        raise ConflictError(f"account {account} has no retired keys: retire them first")
    new = [] if decided else [k.id for k in retired if k.destroy_from is None]
    with parts.db.begin() as uow:
        at = uow.now + DESTROY_AFTER
        uow.keys.schedule_destruction(new, at, step_key)
        if new:
            sentence = f"Retired keys of account {account} are destroyed from {at.isoformat(timespec='seconds')} on"
            facts = {"keys": new, "step": step_key}
            uow.record(Entry(kind="keys.doomed", at=uow.now, subject=account, sentence=sentence, facts=facts))
    return (*retired, *gone)


def due(parts: VaultParts, account: AccountId) -> tuple[VaultKey, ...]:
    """Return the retired keys whose delay is over."""
    now = parts.clock.now()
    return tuple(
        k
        for k in parts.keys_of(account)
        if k.state == KeyState.RETIRED.value and k.destroy_from is not None and k.destroy_from <= now
    )


def note_gone(uow: UnitOfWork, account: AccountId, gone: Sequence[VaultKey]) -> None:
    """Write down that keys are destroyed, for each step that decided it."""
    for step in dict.fromkeys(key.destroy_by for key in gone):
        own = [key for key in gone if key.destroy_by == step]
        move_keys(uow, account, own, KeyState.RETIRED, KeyState.DESTROYED, step)
