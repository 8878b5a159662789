"""Rotating an account to new keys, step by step, resumable at every point; the states are `hsm/rotation.py`'s.

Rules: an account gets as many new leaves as it has, all at once: each signs a challenge inside the token, is checked
against the new account's xpub, and only then are they recorded, in the transaction that calls them verified; every event
is committed before the next step begins, under a lock on the rotation, and repeating a step gives the same event; a lost
leaf is answered with a new hardened account of the same seed, a lost account key or seed with a new seed, which all
accounts under the old one share; from the moment a seed counts as lost nothing new is derived from it; where that, or a
deeper loss, comes to light before the new keys are current, the rotation is overtaken by another, which counts them among
the old ones; the new keys are current only once the old addresses are empty.
"""

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from hsm.custodian import MAX_BATCH, LeafKey
from hsm.derivation import ExtendedKey
from hsm.errors import KeyUseRefusedError, RotationError
from hsm.keypath import DerivationPath
from hsm.restrictions import KeyState
from hsm.rotation import (
    Destroy,
    Event,
    Generate,
    Loss,
    Overtake,
    Retire,
    Rotation,
    State,
    Sweep,
    Verify,
    apply,
    replay,
)
from service.domain.account import Account
from service.domain.errors import ConflictError, MissingCapabilityError, NotFoundError, RefusedByOtherSideError
from service.domain.ids import AccountId, id_after
from service.domain.timeline import Entry
from service.domain.vault import RotationRecord, VaultKey, WalletState
from service.ports.store.unit import UnitOfWork
from service.vault.parts import VaultParts, token_calls
from service.vault.provision import EVM_PATH, ensure_wallet, free_path, key_of, wallet_lock

_EVENTS: Final[dict[str, type[Event]]] = {
    cls.__name__: cls for cls in (Generate, Verify, Sweep, Retire, Destroy, Overtake)
}
_OVER: Final = frozenset({State.RETIRED, State.DESTROYED, State.FAILED})
"""From `retired` on the new keys are the current ones: the next loss is answered with a rotation of its own."""
Also = Callable[[UnitOfWork, RotationRecord], None]
"""What must be written in the same transaction as an event."""


def is_over(record: RotationRecord) -> bool:
    """Say whether the new keys of a rotation are the account's current ones, or it was given up."""
    return State(record.state) in _OVER


def open_rotation(parts: VaultParts, account_id: AccountId, scope: str, key: str) -> RotationRecord:
    """Return the rotation that this step began, or the unfinished one, or begin one (leaf | account_key | seed).

    An unfinished one that answers a smaller loss, or whose new seed is lost meanwhile, is overtaken.
    """
    with parts.db.begin() as uow:
        account = uow.registry.account(account_id)
        if account.wallet_id is None or account.account_path is None:
            raise MissingCapabilityError(f"account {account_id} has no vault keys: its platform or signers rotate it")
        uow.lock(wallet_lock(account.wallet_id))
        record = uow.keys.rotation(account_id)
        too_shallow = record is not None and not is_over(record) and _is_too_shallow(uow, record, Loss(scope))
        if record is None or too_shallow or (is_over(record) and record.step_key != key):
            before, record = record, _propose(uow, account, Loss(scope), key, after=record)
            if before is not None and too_shallow:
                _overtake(uow, before, record.id)
            uow.keys.add_rotation(record)
            if record.new_wallet_id != record.old_wallet_id:
                uow.keys.set_wallet_state(record.old_wallet_id, WalletState.COMPROMISED)
            uow.record(_entry(uow, record, {"scope": record.scope, "new_path": record.new_path}))
    return record


def find_rotation(parts: VaultParts, account_id: AccountId) -> RotationRecord:
    """Return the account's newest rotation. Raises NotFoundError."""
    with parts.db.begin() as uow:
        record = uow.keys.rotation(account_id)
    if record is None:
        raise NotFoundError(f"account {account_id} has no rotation: prepare one first")
    return record


def generate(parts: VaultParts, record: RotationRecord, keys: tuple[VaultKey, ...]) -> tuple[VaultKey, ...]:
    """Generate and verify the new keys of an account that has `keys`; returns what is recorded of them."""
    wallet_id, account = record.new_wallet_id, DerivationPath.parse(record.new_path)
    sealed = ensure_wallet(parts, wallet_id)
    with token_calls():
        xpub = parts.token.open_account(sealed, wallet_id, account).xpub
    advance(parts, record, Generate(xpub))
    wanted = [account.below(below) for below in _places(record, keys)]
    proved: list[LeafKey] = []
    for start in range(0, len(wanted), MAX_BATCH):
        with token_calls():
            batch = wanted[start : start + MAX_BATCH]
            proved += parts.token.prove(sealed, wallet_id, batch, challenge(record, xpub))
    _require_of(record, proved, xpub)

    def write_down(uow: UnitOfWork, _: RotationRecord) -> None:
        uow.keys.add_keys([key_of(record.account_id, leaf, keys[0].chain) for leaf in proved])

    advance(parts, record, Verify(xpub), write_down)
    _, new = split(record, parts.keys_of(record.account_id))
    if len(new) != len(proved):
        raise ConflictError(f"{record.new_path} of wallet {wallet_id} belongs to another account: stop and look")
    return new


def still_answers(parts: VaultParts, record: RotationRecord, new: tuple[VaultKey, ...]) -> bool:
    """Ask the token once more for the first new leaf: whether it derives it, from a seed not lost, and lets it sign."""
    with parts.db.begin() as uow:
        wallet = uow.keys.wallet(record.new_wallet_id)
    if wallet is None or wallet.state is not WalletState.ACTIVE:
        return False
    path, sealed = DerivationPath.parse(new[0].path), parts.seed(wallet.id)
    with token_calls():
        try:
            leaf = parts.token.prove(sealed, wallet.id, [path], challenge(record, new[0].id))
        except KeyUseRefusedError:
            return False
    return leaf[0].public_key == new[0].public_key


def advance(parts: VaultParts, known: RotationRecord, event: Event, also: Also | None = None) -> RotationRecord:
    """Apply one event to a rotation, as it is stored now, and commit it, with `also` in the same transaction.

    An event of a kind that happened already changes nothing, except that new keys cannot become others: that, an event out
    of turn, and a rotation that another one followed, raise ConflictError.
    """
    account_id = known.account_id
    with parts.db.begin() as uow:
        record = uow.keys.rotation(account_id)
        if record is None or record.id != known.id:
            raise ConflictError(f"rotation {known.id} of account {account_id} was overtaken: the newest one goes on")
        rotation = machine(record)
        past = next((e for e in rotation.events if type(e) is type(event)), None)
        if past == event or (past is not None and not isinstance(event, Generate | Verify)):
            return record
        try:
            after = apply(rotation, event)
        except RotationError as error:
            raise ConflictError(f"the rotation of account {account_id}: {error}") from error
        record = _saved(uow, record, after.state, event)
        if also is not None:
            also(uow, record)
    return record


def end_destroyed(uow: UnitOfWork, record: RotationRecord) -> None:
    """End a rotation once all the keys that it replaced are gone, by the steps that decided about those."""
    if State(record.state) is not State.RETIRED:
        return
    old, _ = split(record, tuple(uow.keys.keys_of(record.account_id)))
    if any(key.state != KeyState.DESTROYED.value for key in old):
        return
    # Those of an earlier rotation are old, too; what was decided about them is no word about this one's.
    own = [key.destroy_by for key in old if _is_below(key, record.old_wallet_id, record.old_path)]
    event = Destroy(",".join(dict.fromkeys(own)))
    _saved(uow, record, apply(machine(record), event).state, event)


def machine(record: RotationRecord) -> Rotation:
    """Return the state machine of a stored rotation, by replaying its events."""
    start = Rotation(
        DerivationPath.parse(record.old_path),
        DerivationPath.parse(record.new_path),
        Loss(record.scope),
        record.new_wallet_id != record.old_wallet_id,
    )
    return replay(start, tuple(_EVENTS[kind](**fields) for kind, fields in record.events))


def split(
    record: RotationRecord | None, keys: tuple[VaultKey, ...]
) -> tuple[tuple[VaultKey, ...], tuple[VaultKey, ...]]:
    """Return (the keys that are replaced, the new keys in order of their paths): without a rotation, all keys are old."""
    if record is None:
        return keys, ()
    new = [k for k in keys if _is_below(k, record.new_wallet_id, record.new_path)]
    old = tuple(k for k in keys if k not in new)
    return old, tuple(sorted(new, key=lambda k: DerivationPath.parse(k.path)))


def home_of(uow: UnitOfWork, account_id: AccountId) -> str:
    """Return where an account's current keys are, as `WALLET/PATH`: somewhere else once they were replaced."""
    account = uow.registry.account(account_id)
    return f"{account.wallet_id}/{account.account_path}"


def is_at(key: VaultKey, home: str) -> bool:
    """Say whether a key was current while this was its account's home."""
    return f"{key.wallet_id}/{key.path}".startswith(f"{home}/")


def challenge(record: RotationRecord, about: str) -> bytes:
    """Return what new leaves sign to show that they are there: 32 bytes that are nobody's transaction."""
    return hashlib.sha256(f"portcullis/rotation-challenge/v2\x00{record.id}\x00{about}".encode()).digest()


def _is_below(key: VaultKey, wallet_id: str, account_path: str) -> bool:
    return key.wallet_id == wallet_id and key.path.startswith(f"{account_path}/")


def _places(record: RotationRecord, keys: tuple[VaultKey, ...]) -> list[DerivationPath]:
    """Return where below the new account its leaves are: where the old account has them."""
    above = len(DerivationPath.parse(record.old_path).levels)
    replaced = [DerivationPath.parse(k.path) for k in keys if _is_below(k, record.old_wallet_id, record.old_path)]
    return sorted({DerivationPath(path.levels[above:]) for path in replaced} | {DerivationPath().leaf(0, 0)})


def _require_of(record: RotationRecord, proved: list[LeafKey], xpub: str) -> None:
    """Raise RefusedByOtherSideError unless every leaf is the one that the new xpub gives at its path."""
    public, above = ExtendedKey.parse(xpub), len(DerivationPath.parse(record.new_path).levels)
    for leaf in proved:
        if public.derive(DerivationPath(leaf.ref.path.levels[above:])).public_key != leaf.public_key:
            raise RefusedByOtherSideError(
                f"a new leaf of {record.account_id} does not answer to the new xpub: stop and look"
            )


def _entry(uow: UnitOfWork, record: RotationRecord, facts: dict[str, str]) -> Entry:
    return Entry(
        kind=f"rotation.{record.state}",
        at=uow.now,
        subject=record.id,
        sentence=f"Rotation of account {record.account_id}: {record.state}",
        facts={"account": record.account_id, **facts},
    )


def _saved(uow: UnitOfWork, record: RotationRecord, state: State, event: Event) -> RotationRecord:
    fields = {name: str(getattr(event, name)) for name in event.__dataclass_fields__}
    record = replace(record, state=state.value, events=(*record.events, (type(event).__name__, fields)))
    uow.keys.save_rotation(record)
    uow.record(_entry(uow, record, fields))
    return record


def _is_too_shallow(uow: UnitOfWork, record: RotationRecord, loss: Loss) -> bool:
    """Say whether the thief has, or may have, what the new keys of an unfinished rotation are derived from."""
    wallet = uow.keys.wallet(record.new_wallet_id)
    if wallet is not None and wallet.state is not WalletState.ACTIVE:
        return True
    return loss is not Loss.LEAF and record.new_wallet_id == record.old_wallet_id


def _overtake(uow: UnitOfWork, record: RotationRecord, by: str) -> None:
    """Give up a rotation's new keys: from here on they are old ones, and sign a sweep at most."""
    _, new = split(record, tuple(uow.keys.keys_of(record.account_id)))
    uow.keys.set_key_state([key.id for key in new], (KeyState.ACTIVE.value,), KeyState.RESTRICTED.value)
    after = apply(machine(record), Overtake(by))
    _saved(uow, record, after.state, after.events[-1])


def _propose(
    uow: UnitOfWork, account: Account, loss: Loss, key: str, *, after: RotationRecord | None
) -> RotationRecord:
    old_wallet, old_path = str(account.wallet_id), str(account.account_path)
    lost = uow.keys.wallet(old_wallet)
    if loss is Loss.LEAF and lost is not None and lost.state is not WalletState.ACTIVE:
        loss = Loss.SEED
    new_wallet = old_wallet if loss is Loss.LEAF else next_wallet(uow, old_wallet)
    if new_wallet != old_wallet:
        uow.lock(wallet_lock(new_wallet))
    taken = set(uow.keys.account_paths(new_wallet))
    return RotationRecord(
        id=id_after("rot", [] if after is None else [after.id]),  # the newest one is told by it
        step_key=key,
        account_id=account.id,
        scope=loss.value,
        old_wallet_id=old_wallet,
        old_path=old_path,
        new_wallet_id=new_wallet,
        new_path=free_path(taken, EVM_PATH) if loss is Loss.LEAF or old_path in taken else old_path,
        state=State.PROPOSED.value,
        events=(),
    )


def next_wallet(uow: UnitOfWork, wallet_id: str) -> str:
    """Return the wallet that follows a lost one: the first of `name.2`, `name.3` … that is not lost itself."""
    stem, _, digits = wallet_id.rpartition(".")
    number = int(digits) if stem and digits.isdigit() else 1
    stem = stem if number > 1 else wallet_id
    while True:
        number += 1
        found = uow.keys.wallet(f"{stem}.{number}")
        if found is None or found.state is WalletState.ACTIVE:
            return f"{stem}.{number}"
