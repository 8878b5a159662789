"""Rotating an account to new keys, step by step, resumable at every point; the states are `hsm/rotation.py`'s.

Rules: every event is committed before the next step begins, and repeating a step gives the same event; a lost leaf is
answered with a new hardened account of the same seed, a lost account key or seed with a new seed, which all accounts
under the old one share; the new keys are current only once the old addresses are empty.
"""

import hashlib
from dataclasses import replace

from hsm.custodian import KeyRef, SealedSeed
from hsm.derivation import ExtendedKey
from hsm.ecdsa import verify
from hsm.keypath import DerivationPath
from hsm.rotation import (
    Destroy,
    Event,
    Generate,
    Loss,
    Publish,
    Retire,
    Rotation,
    State,
    Sweep,
    Verify,
    apply,
    replay,
)
from service.domain.account import Account
from service.domain.errors import MissingCapabilityError, NotFoundError, RefusedByOtherSideError
from service.domain.ids import AccountId, new_id
from service.domain.timeline import Entry
from service.domain.vault import RotationRecord, VaultKey, WalletState
from service.vault.parts import VaultParts, token_calls
from service.vault.provision import ensure_wallet, free_path, make_leaf

_EVENTS: dict[str, type[Event]] = {cls.__name__: cls for cls in (Generate, Verify, Publish, Sweep, Retire, Destroy)}
_OVER = (State.DESTROYED.value, State.FAILED.value)


def open_rotation(parts: VaultParts, account_id: AccountId, scope: str) -> RotationRecord:
    """Return the account's unfinished rotation, or begin one for this scope (leaf | account_key | seed)."""
    with parts.db.begin() as uow:
        account = uow.registry.account(account_id)
        if account.wallet_id is None or account.account_path is None:
            raise MissingCapabilityError(f"account {account_id} has no vault keys: its platform or signers rotate it")
        uow.lock(f"wallet:{account.wallet_id}")
        record = uow.keys.rotation(account_id)
        if record is None or record.state in _OVER:
            record = _propose(account, scope, set(uow.keys.account_paths(account.wallet_id)))
            uow.keys.add_rotation(record)
    return record


def find_rotation(parts: VaultParts, account_id: AccountId) -> RotationRecord:
    """Return the account's newest rotation. Raises NotFoundError."""
    with parts.db.begin() as uow:
        record = uow.keys.rotation(account_id)
    if record is None:
        raise NotFoundError(f"account {account_id} has no rotation: prepare one first")
    return record


def generate(parts: VaultParts, record: RotationRecord, chain: str) -> VaultKey:
    """Generate and verify the new keys: a leaf in the token that signed a challenge, checked against the xpub."""
    wallet = ensure_wallet(parts, record.new_wallet_id)
    with token_calls():
        public = parts.token.open_account(
            SealedSeed(wallet.sealed_seed), wallet.id, DerivationPath.parse(record.new_path)
        )
    record = advance(parts, record, Generate(public.xpub))
    key = make_leaf(parts, record.account_id, record.new_wallet_id, record.new_path, chain)
    _challenge(parts, key, public.xpub)
    advance(parts, record, Verify(public.xpub))
    if record.new_wallet_id != record.old_wallet_id:
        with parts.db.begin() as uow:
            uow.keys.set_wallet_state(record.old_wallet_id, WalletState.COMPROMISED)
    return key


def advance(parts: VaultParts, record: RotationRecord, event: Event) -> RotationRecord:
    """Apply one event and commit it; an event that happened already changes nothing."""
    rotation = machine(record)
    if event in rotation.events or type(event) in {type(e) for e in rotation.events}:
        return record
    after = apply(rotation, event)
    fields = {name: str(getattr(event, name)) for name in event.__dataclass_fields__}
    record = replace(record, state=after.state.value, events=(*record.events, (type(event).__name__, fields)))
    with parts.db.begin() as uow:
        uow.keys.save_rotation(record)
        uow.record(
            Entry(
                kind=f"rotation.{after.state.value}",
                at=uow.now,
                subject=record.id,
                sentence=f"Rotation of account {record.account_id}: {after.state.value}",
                facts={"account": record.account_id, **fields},
            )
        )
    return record


def machine(record: RotationRecord) -> Rotation:
    """Return the state machine of a stored rotation, by replaying its events."""
    start = Rotation(
        DerivationPath.parse(record.old_path),
        DerivationPath.parse(record.new_path),
        Loss(record.scope),
        record.new_wallet_id != record.old_wallet_id,
    )
    return replay(start, tuple(_EVENTS[kind](**fields) for kind, fields in record.events))


def split(record: RotationRecord | None, keys: tuple[VaultKey, ...]) -> tuple[tuple[VaultKey, ...], VaultKey | None]:
    """Return (the keys to be emptied, the new key): without a rotation all keys are old."""
    if record is None:
        return keys, None
    prefix = f"{record.new_path}/"
    new = [k for k in keys if k.wallet_id == record.new_wallet_id and k.path.startswith(prefix)]
    old = tuple(k for k in keys if k not in new)
    return old, (new[0] if new else None)


def _propose(account: Account, scope: str, taken: set[str]) -> RotationRecord:
    old_wallet, old_path = str(account.wallet_id), str(account.account_path)
    loss = Loss(scope)
    if loss is Loss.LEAF:
        new_wallet, new_path = old_wallet, free_path(taken)
    else:
        stem, _, number = old_wallet.rpartition(".")
        numbered = stem and number.isdigit()
        new_wallet = f"{stem}.{int(number) + 1}" if numbered else f"{old_wallet}.2"
        new_path = old_path
    return RotationRecord(
        id=new_id("rot"),
        account_id=account.id,
        scope=scope,
        old_wallet_id=old_wallet,
        old_path=old_path,
        new_wallet_id=new_wallet,
        new_path=new_path,
        state=State.PROPOSED.value,
        events=(),
    )


def _challenge(parts: VaultParts, key: VaultKey, xpub: str) -> None:
    digest = hashlib.sha256(f"portcullis/rotation-challenge/v1\x00{key.id}\x00{xpub}".encode()).digest()
    leaf = DerivationPath.parse(key.path)
    expected = ExtendedKey.parse(xpub).derive(DerivationPath(leaf.levels[-2:])).public_key
    with token_calls():
        signature = parts.token.sign(KeyRef(key.wallet_id, leaf), digest)
    if expected != key.public_key or not verify(signature, digest, expected):
        raise RefusedByOtherSideError(
            f"the new leaf of {key.account_id} does not answer to the new xpub: stop and look"
        )
