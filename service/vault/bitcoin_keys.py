"""The vault's keys of Bitcoin wallets: where each is derived, how it is made, shown to be there, and asked to sign.

Rules: in a wallet of several keys each of ours has a seed of its own, so that a lost one tells nothing of the others. The
key of a wallet of one is an account under its vault wallet's seed (BIP-84, BIP-86), which other accounts may share, as on
EVM chains: a path is given out once; a lost leaf is answered with the next account of the same seed, anything more, or a
seed that counts as lost, with another seed. From the moment a seed counts as lost nothing new is derived from it. What signs
is asked for its state before each signature; version 0 leaves sign inside the token, taproot leaves beside it
(docs/adr/0037).
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final

from hsm.custodian import KeyRef, SealedSeed
from hsm.derivation import ExtendedKey
from hsm.keypath import DerivationPath
from hsm.restrictions import KeyState, Sweep
from hsm.rotation import Loss
from hsm.schnorr import output_key, verify
from service.domain.bitcoin.descriptor import RECEIVE, Cosigner
from service.domain.bitcoin.network import Network
from service.domain.bitcoin.psbt import Signature, Unsigned
from service.domain.bitcoin.wallet import BitcoinWallet, Home, WalletTerms, first_path
from service.domain.errors import InputError, RefusedByOtherSideError, UnavailableError
from service.domain.ids import AccountId, looks_like_id, new_id
from service.domain.vault import VaultKey, WalletState
from service.ports.store.unit import UnitOfWork
from service.vault.parts import VaultParts, token_calls
from service.vault.provision import BITCOIN_WALLET, ensure_wallet, free_path, reserve, wallet_lock
from service.vault.rotations import next_wallet

SIGNING: Final = frozenset({KeyState.ACTIVE.value, KeyState.RESTRICTED.value})


def home_of(key: VaultKey) -> Home:
    """Return where a key is derived."""
    return key.wallet_id, key.path


def first_homes(parts: VaultParts, account: AccountId, terms: WalletTerms) -> Sequence[Home]:
    """Return where the keys of an account's first wallet are derived; the same each time."""
    if terms.kind.is_single:
        return [reserve(parts, account, DerivationPath.parse(terms.path))]
    name = _name(account)
    with parts.db.begin() as uow:
        uow.lock(wallet_lock(name))
        uow.keys.reserve_path(account, name, terms.path)
    return [(f"{name}.{number + 1}", terms.path) for number in range(terms.vault_keys)]


def fresh_homes(
    parts: VaultParts, every: Sequence[BitcoinWallet], current: BitcoinWallet, loss: Loss
) -> Mapping[str, Home]:
    """Return, by master fingerprint of each of our keys, where the one that takes its place is derived.

    The same each time until the wallet is made, but for a path that another account was given meanwhile. From here on the
    seeds that are left behind count as lost.
    """
    with parts.db.begin() as uow:
        if current.descriptor.kind.is_single:
            homes = _next_of_one(uow, every, current, loss)
        else:
            name = f"{_name(current.account_id)}.{len(every) + 1}"
            old = sorted(current.signers)
            homes = {one: (f"{name}.{n}", current.descriptor.named(one).path) for n, one in enumerate(old, start=1)}
        for lost in set(current.signers.values()) - {wallet for wallet, _ in homes.values()}:
            uow.keys.set_wallet_state(lost, WalletState.COMPROMISED)
    return homes


def make_key(parts: VaultParts, account: AccountId, home: Home, network: Network) -> Cosigner:
    """Return one key of the vault's, drawing its seed if it is not there yet.

    Raises UnavailableError when another account was given its place meanwhile.
    """
    wallet_id, path = home
    sealed = ensure_wallet(parts, wallet_id)
    with token_calls():
        master = parts.token.open_account(sealed, wallet_id, DerivationPath())
        public = parts.token.open_account(sealed, wallet_id, DerivationPath.parse(path))
    found = Cosigner.of(ExtendedKey.parse(master.xpub).fingerprint.hex(), path, public.xpub, network)
    row = VaultKey(
        id=new_id("key"),
        wallet_id=wallet_id,
        account_id=account,
        path=path,
        chain=network.chain,
        public_key=ExtendedKey.parse(public.xpub).public_key,
        address=found.fingerprint,
        state=KeyState.ACTIVE.value,
    )
    with parts.db.begin() as uow:
        uow.keys.add_keys([row])
        if not any(home_of(k) == home for k in uow.keys.keys_of(account)):
            raise UnavailableError(f"{path} of wallet {wallet_id} was given to another account: the next one is taken")
    return found


def cosign(
    parts: VaultParts, wallet: BitcoinWallet, unsigned: Unsigned, request: Sweep, made: Sequence[Signature] = ()
) -> list[Signature]:
    """Return `made` with as many of the vault's signatures as are needed and can be given.

    Raises ForbiddenError when a key's state does not allow the request.
    """
    keys = {home_of(k): k for k in parts.keys_of(wallet.account_id) if k.state in SIGNING}
    signatures, seed = list(made), cache(parts.seed)
    reach = [max((c.place.index + 1 for c in unsigned.draft.coins if c.place.branch == b), default=0) for b in (0, 1)]
    with parts.db.begin() as uow:
        # Before the first leaf enters the token, so that retiring and destroying find every one.
        uow.bitcoin.reach(wallet.account_id, wallet.number, *reach)
    for number, coin in enumerate(unsigned.draft.coins):
        have = {one.key for one in signatures if one.input == number}
        for point, owner in sorted(coin.place.keys.items()):
            key = keys.get((wallet.signers.get(owner.fingerprint, ""), owner.path))
            if len(have) >= wallet.descriptor.threshold or point in have or key is None:
                continue
            parts.require_allowed(key, request)
            value = _signature(parts, key, seed(key.wallet_id), unsigned, number)
            signatures.append(Signature(number, point, value))
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


def _next_of_one(
    uow: UnitOfWork, every: Sequence[BitcoinWallet], current: BitcoinWallet, loss: Loss
) -> Mapping[str, Home]:
    ((fingerprint, old),) = current.signers.items()
    path = current.descriptor.named(fingerprint).path
    uow.lock(wallet_lock(old))
    lost = uow.keys.wallet(old)
    stays = loss is Loss.LEAF and lost is not None and lost.state is WalletState.ACTIVE
    new = old if stays else next_wallet(uow, old)
    uow.lock(wallet_lock(new))
    # A key that is in no wallet of ours is of a re-keying that broke off: its path is not taken, but this one's.
    held = {home for one in every for home in one.homes}
    begun = {k.path for k in uow.keys.keys_of(current.account_id) if k.wallet_id == new and home_of(k) not in held}
    taken = set(uow.keys.account_paths(new)) - begun
    if stays or path in taken:
        path = free_path(taken, DerivationPath.parse(first_path(current.descriptor.kind, current.descriptor.network)))
    return {fingerprint: (new, path)}


def _name(account: AccountId) -> str:
    """Return what the account's seeds are named after, which no other account's are.

    Raises InputError for an id of another form: whoever registers accounts could take a name that a re-keying needs later.
    """
    if not looks_like_id(account, "acc"):
        raise InputError(
            "an account's id is acc_ and 26 letters and digits: register the account anew", field="account"
        )
    return f"{BITCOIN_WALLET}{account.lower()}"


def _answers(parts: VaultParts, wallet: BitcoinWallet, wallet_id: str, point: bytes, owner: Cosigner) -> bool:
    """Let one key sign as it signs coins, and hold it against `point` of the address, which for taproot has no sign."""
    kind, challenge = wallet.descriptor.kind, _challenge(wallet, wallet_id)
    ref, sealed = KeyRef(wallet_id, DerivationPath.parse(f"{owner.path}/{RECEIVE}/0")), parts.seed(wallet_id)
    with token_calls():
        if not kind.is_taproot:
            (leaf,) = parts.token.prove(sealed, wallet_id, [ref.path], challenge)
            return leaf.public_key == point
        public = parts.token.leaf(sealed, wallet_id, ref.path).public_key
        if (output_key(public) if kind.is_single else public[1:]) != point:
            return False
        signature = parts.token.sign_taproot(sealed, ref, challenge, key_path=kind.is_single)
        return verify(signature, challenge, b"\x02" + point)


def _challenge(wallet: BitcoinWallet, wallet_id: str) -> bytes:
    """Return what a new key signs to show that it is there: 32 bytes that are nobody's transaction."""
    about = f"{wallet.account_id}\x00{wallet.number}\x00{wallet.descriptor.text}\x00{wallet_id}"
    return hashlib.sha256(f"portcullis/bitcoin-wallet-challenge/v1\x00{about}".encode()).digest()


def _signature(parts: VaultParts, key: VaultKey, sealed: SealedSeed, unsigned: Unsigned, number: int) -> bytes:
    place, kind = unsigned.draft.coins[number].place, unsigned.descriptor.kind
    ref = KeyRef(key.wallet_id, DerivationPath.parse(f"{key.path}/{place.branch}/{place.index}"))
    digest = unsigned.digest(number)
    with token_calls():
        parts.token.leaf(sealed, key.wallet_id, ref.path)
        if kind.is_taproot:
            return parts.token.sign_taproot(sealed, ref, digest, key_path=kind.is_single)
        return parts.token.sign(ref, digest).der()
