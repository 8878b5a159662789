"""Bitcoin wallets of the vault: made from their connection's terms, re-keyed, and asked to sign.

Rules: each key of the vault's has a seed of its own, so that a lost one tells nothing of the others; its extended public key
is derived where the seed is opened and checked into the descriptor. A re-keyed wallet keeps the keys of other people and
gets fresh ones for all of ours: which of ours the thief has, nobody can tell. It is prepared, never current, until the old
one is empty. No wallet is written down, and so none is told, paid or swept to, before each of our keys of it signed a
challenge as it will sign its coins, checked against the key in the script of its first address. What signs is asked for
its state before each signature, and signs nothing but a sweep to a verified safe destination; a wsh leaf signs inside the
token, a taproot leaf beside it (docs/adr/0037).
"""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from hsm.custodian import KeyRef, SealedSeed
from hsm.derivation import ExtendedKey
from hsm.keypath import DerivationPath
from hsm.restrictions import KeyState, Sweep
from hsm.schnorr import verify
from service.domain.bitcoin.descriptor import RECEIVE, Cosigner, Descriptor, Kind
from service.domain.bitcoin.psbt import Signature, Unsigned
from service.domain.bitcoin.wallet import PLATFORM, BitcoinWallet, WalletTerms, WalletUse, read_terms
from service.domain.errors import (
    ConflictError,
    InputError,
    MissingCapabilityError,
    NotFoundError,
    RefusedByOtherSideError,
)
from service.domain.ids import AccountId, looks_like_id, new_id
from service.domain.plan import Receipt
from service.domain.timeline import Entry
from service.domain.vault import VaultKey, WalletState
from service.ports.store.unit import UnitOfWork
from service.vault.entries import end_provisioning
from service.vault.parts import VaultParts, token_calls
from service.vault.provision import BITCOIN_WALLET, ensure_wallet, sign_destinations, wallet_lock

SIGNING: Final = frozenset({KeyState.ACTIVE.value, KeyState.RESTRICTED.value})


def provision(parts: VaultParts, account: AccountId) -> Receipt:
    """Make the account's first wallet and sign its safe destinations; safe to repeat at any point.

    Raises MissingCapabilityError where its connection is not one of platform `bitcoin`, InputError for wrong terms,
    RefusedByOtherSideError when a key of it does not sign.
    """
    wallets = wallets_of(parts, account)
    if not wallets:
        terms = _terms(parts, account)
        name = _name(account)
        with parts.db.begin() as uow:
            uow.lock(wallet_lock(name))
            uow.keys.reserve_path(account, name, terms.path)
        ours = [_make_key(parts, account, f"{name}.{number + 1}", terms) for number in range(terms.vault_keys)]
        keys = (*(key for key, _ in ours), *terms.others)
        wallet = BitcoinWallet(
            account_id=account,
            number=1,
            descriptor=Descriptor.of(terms.kind, terms.threshold, keys, terms.network),
            signers={key.fingerprint: wallet_id for key, wallet_id in ours},
            use=WalletUse.CURRENT,
            step_key="",
        )
        wallets = (_stored(parts, wallet),)
    current = current_of(wallets, account)
    addresses = (address_of(current),)
    signed = sign_destinations(parts, account)
    made = {"descriptor": current.descriptor.text}
    has = f"Account has its Bitcoin wallet and {signed} signed safe destinations"
    end_provisioning(parts, account, addresses, has, {**made, "destinations": signed})
    return Receipt(account, {"addresses": list(addresses), **made})


def rekey(parts: VaultParts, account: AccountId, step_key: str) -> BitcoinWallet:
    """Return the wallet that this step made, or make it: the current one with fresh keys in the place of all of ours.

    Raises RefusedByOtherSideError when a fresh key does not sign.
    """
    wallets = wallets_of(parts, account)
    found = next((w for w in wallets if w.step_key == step_key), None) or prepared_of(wallets)
    if found is not None:
        return found
    current = current_of(wallets, account)
    terms = _terms(parts, account)
    descriptor, signers = current.descriptor, dict(current.signers)
    number = len(wallets) + 1
    for place, fingerprint in enumerate(sorted(current.signers), start=1):
        wallet_id = f"{_name(account)}.{number}.{place}"
        fresh, _ = _make_key(parts, account, wallet_id, terms)
        descriptor = descriptor.rekeyed(descriptor.named(fingerprint), fresh)
        signers[fresh.fingerprint] = wallet_id
        del signers[fingerprint]
    with parts.db.begin() as uow:
        for lost in current.signers.values():
            uow.keys.set_wallet_state(lost, WalletState.COMPROMISED)
    return _stored(parts, replace(current, number=number, descriptor=descriptor, signers=signers,
                                  use=WalletUse.PREPARED, step_key=step_key))  # fmt: skip


def cosign(
    parts: VaultParts, wallet: BitcoinWallet, unsigned: Unsigned, request: Sweep, made: Sequence[Signature] = ()
) -> list[Signature]:
    """Return `made` with as many of the vault's signatures as are needed and can be given.

    Raises ForbiddenError when a key's state does not allow the request.
    """
    keys = {k.wallet_id: k for k in parts.keys_of(wallet.account_id) if k.state in SIGNING}
    signatures = list(made)
    reach = [max((c.place.index + 1 for c in unsigned.draft.coins if c.place.branch == b), default=0) for b in (0, 1)]
    with parts.db.begin() as uow:
        # Before the first leaf enters the token, so that retiring and destroying find every one.
        uow.bitcoin.reach(wallet.account_id, wallet.number, *reach)
    for number, coin in enumerate(unsigned.draft.coins):
        have = {one.key for one in signatures if one.input == number}
        for point, owner in sorted(coin.place.keys.items()):
            key = keys.get(wallet.signers.get(owner.fingerprint, ""))
            if len(have) >= wallet.descriptor.threshold or point in have or key is None:
                continue
            parts.require_allowed(key, request)
            signatures.append(Signature(number, point, _signature(parts, key, unsigned, number)))
            have.add(point)
    return signatures


def answers(parts: VaultParts, wallet: BitcoinWallet) -> bool:
    """Ask the token whether each of our keys signs for the wallet's first address, by a signature that is checked."""
    place = wallet.descriptor.place(RECEIVE, 0)
    points = {wallet.signers.get(owner.fingerprint, ""): (point, owner) for point, owner in place.keys.items()}
    try:
        return all(
            wallet_id in points and _answers(parts, wallet, wallet_id, *points[wallet_id])
            for wallet_id in wallet.signers.values()
        )
    except RefusedByOtherSideError:
        return False


def wallets_of(parts: VaultParts, account: AccountId) -> tuple[BitcoinWallet, ...]:
    """Return an account's wallets, oldest first."""
    with parts.db.begin() as uow:
        return tuple(uow.bitcoin.wallets(account))


def current_of(wallets: Sequence[BitcoinWallet], account: AccountId) -> BitcoinWallet:
    """Return the wallet that counts as the account's. Raises NotFoundError before it was made."""
    found = next((w for w in wallets if w.use is WalletUse.CURRENT), None)
    if found is None:
        raise NotFoundError(f"account {account} has no Bitcoin wallet yet: it is made when the account is registered")
    return found


def prepared_of(wallets: Sequence[BitcoinWallet]) -> BitcoinWallet | None:
    """Return the re-keyed wallet that has not replaced the current one yet."""
    return next((w for w in wallets if w.use is WalletUse.PREPARED), None)


def keys_under(parts: VaultParts, wallet: BitcoinWallet) -> tuple[VaultKey, ...]:
    """Return the vault's keys of one wallet."""
    return tuple(k for k in parts.keys_of(wallet.account_id) if k.wallet_id in set(wallet.signers.values()))


def address_of(wallet: BitcoinWallet) -> str:
    """Return a wallet's first address as CAIP-10."""
    return f"{wallet.descriptor.network.chain}:{wallet.descriptor.address(RECEIVE, 0)}"


def make_current(uow: UnitOfWork, old: BitcoinWallet, new: BitcoinWallet) -> None:
    """Let a prepared wallet take the old one's place."""
    uow.bitcoin.set_use(old.account_id, old.number, WalletUse.REPLACED)
    uow.bitcoin.set_use(new.account_id, new.number, WalletUse.CURRENT)
    uow.keys.provisioned(old.account_id, (address_of(new),))


def _name(account: AccountId) -> str:
    """Return what the account's seeds are named after, which no other account's are.

    Raises InputError for an id of another form: whoever registers accounts could take a name that a re-keying needs later.
    """
    if not looks_like_id(account, "acc"):
        raise InputError(
            "an account's id is acc_ and 26 letters and digits: register the account anew", field="account"
        )
    return f"{BITCOIN_WALLET}{account.lower()}"


def _terms(parts: VaultParts, account: AccountId) -> WalletTerms:
    with parts.db.begin() as uow:
        connection = uow.registry.connection(uow.registry.account(account).at.connection)
    if connection.platform != PLATFORM:
        raise MissingCapabilityError(
            f"account {account} has Bitcoin assets but its connection is of platform {connection.platform}: register it"
            f" under a connection of platform {PLATFORM}, which says what its wallet is made of"
        )
    return read_terms(connection.settings)


def _make_key(parts: VaultParts, account: AccountId, wallet_id: str, terms: WalletTerms) -> tuple[Cosigner, str]:
    """Return one key of the vault's with the wallet of its seed, drawing the seed if it is not there yet."""
    wallet = ensure_wallet(parts, wallet_id)
    sealed, path = SealedSeed(wallet.sealed_seed), DerivationPath.parse(terms.path)
    with token_calls():
        master = parts.token.open_account(sealed, wallet_id, DerivationPath())
        public = parts.token.open_account(sealed, wallet_id, path)
    fingerprint = ExtendedKey.parse(master.xpub).fingerprint.hex()
    found = Cosigner.of(fingerprint, terms.path, public.xpub, terms.network)
    point = ExtendedKey.parse(public.xpub).public_key
    row = VaultKey(
        id=new_id("key"),
        wallet_id=wallet_id,
        account_id=account,
        path=terms.path,
        chain=terms.network.chain,
        public_key=point,
        address=found.fingerprint,
        state=KeyState.ACTIVE.value,
    )
    with parts.db.begin() as uow:
        uow.keys.add_keys([row])
        if not any(k.wallet_id == wallet_id for k in uow.keys.keys_of(account)):
            raise ConflictError(f"wallet {wallet_id} belongs to another account: register {account} anew")
    return found, wallet_id


def _answers(parts: VaultParts, wallet: BitcoinWallet, wallet_id: str, point: bytes, owner: Cosigner) -> bool:
    """Let one key sign as it signs coins, and hold it against `point` of the script, which for taproot has no sign."""
    challenge = _challenge(wallet, wallet_id)
    ref, sealed = KeyRef(wallet_id, DerivationPath.parse(f"{owner.path}/{RECEIVE}/0")), _seed(parts, wallet_id)
    with token_calls():
        if wallet.descriptor.kind is Kind.WSH:
            (leaf,) = parts.token.prove(sealed, wallet_id, [ref.path], challenge)
            return leaf.public_key == point
        public = parts.token.leaf(sealed, wallet_id, ref.path).public_key
        return public[1:] == point[-32:] and verify(parts.token.sign_taproot(sealed, ref, challenge), challenge, public)


def _challenge(wallet: BitcoinWallet, wallet_id: str) -> bytes:
    """Return what a new key signs to show that it is there: 32 bytes that are nobody's transaction."""
    about = f"{wallet.account_id}\x00{wallet.number}\x00{wallet.descriptor.text}\x00{wallet_id}"
    return hashlib.sha256(f"portcullis/bitcoin-wallet-challenge/v1\x00{about}".encode()).digest()


def _stored(parts: VaultParts, wallet: BitcoinWallet) -> BitcoinWallet:
    if not answers(parts, wallet):
        raise RefusedByOtherSideError(
            f"a key of wallet {wallet.number} of account {wallet.account_id} does not sign for its address: stop and look"
        )
    try:
        with parts.db.begin() as uow:
            uow.bitcoin.add(wallet)
            if wallet.descriptor.kind is Kind.TR:
                uow.bitcoin.reach(
                    wallet.account_id, wallet.number, 1, 0
                )  # the leaf that has just signed is in the token
            facts = {
                "descriptor": wallet.descriptor.text,
                "vault_keys": sorted(wallet.signers),
                "step": wallet.step_key,
            }
            sentence = (
                f"Bitcoin wallet {wallet.number} of account {wallet.account_id} is made, each key of the vault's has"
                f" signed for it: {wallet.use.value}"
            )
            uow.record(Entry(kind="wallet.made", at=uow.now, subject=wallet.account_id, sentence=sentence, facts=facts))
    except ConflictError:
        # Another worker was quicker with the same seeds, and so with the same keys.
        return next(w for w in wallets_of(parts, wallet.account_id) if w.number == wallet.number)
    return wallet


def _signature(parts: VaultParts, key: VaultKey, unsigned: Unsigned, number: int) -> bytes:
    place = unsigned.draft.coins[number].place
    ref = KeyRef(key.wallet_id, DerivationPath.parse(f"{key.path}/{place.branch}/{place.index}"))
    sealed, digest = _seed(parts, key.wallet_id), unsigned.digest(number)
    with token_calls():
        parts.token.leaf(sealed, key.wallet_id, ref.path)
        if unsigned.descriptor.kind is Kind.TR:
            return parts.token.sign_taproot(sealed, ref, digest)
        return parts.token.sign(ref, digest).der()


def _seed(parts: VaultParts, wallet_id: str) -> SealedSeed:
    with parts.db.begin() as uow:
        wallet = uow.keys.wallet(wallet_id)
    if wallet is None:
        raise InputError(f"the vault has no wallet {wallet_id}", field="wallet")
    return SealedSeed(wallet.sealed_seed)
