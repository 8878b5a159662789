"""Bitcoin wallets of the vault: made from their connection's terms, and re-keyed.

Rules: a wallet has as many keys of the vault's as its terms say (`bitcoin_keys.py`); the extended public key of each is
derived where its seed is opened and checked into the descriptor. A re-keyed wallet keeps the keys of other people and
gets fresh ones for all of ours: which of ours the thief has, nobody can tell. It is prepared, never current, until the old
one is empty; where more turns out lost than it answers, another takes its place. No wallet is written down, and so none is
told, paid or swept to, before each of our keys of it signed a challenge as it will sign its coins, checked against the key
in the script of its first address.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from hsm.rotation import Loss
from service.domain.bitcoin.coins import Coin
from service.domain.bitcoin.descriptor import RECEIVE, Descriptor
from service.domain.bitcoin.network import address_of as address_of_script
from service.domain.bitcoin.wallet import PLATFORM, BitcoinWallet, WalletTerms, WalletUse, read_terms
from service.domain.errors import ConflictError, MissingCapabilityError, NotFoundError, RefusedByOtherSideError
from service.domain.ids import AccountId
from service.domain.plan import Receipt
from service.domain.timeline import Entry
from service.domain.vault import VaultKey
from service.ports.store.unit import UnitOfWork
from service.vault.bitcoin_keys import answers, first_homes, fresh_homes, home_of, make_key
from service.vault.entries import end_provisioning
from service.vault.parts import VaultParts
from service.vault.provision import are_whole, sign_destinations

MOST_KNOWN: Final = 200
"""Addresses that an account is known by: the first one, and those that held coins when its sweep was made ready."""


def provision(parts: VaultParts, account: AccountId) -> Receipt:
    """Make the account's first wallet and sign its safe destinations; safe to repeat at any point.

    Raises MissingCapabilityError where its connection is not one of platform `bitcoin`, InputError for wrong terms,
    RefusedByOtherSideError when a key of it does not sign.
    """
    wallets = wallets_of(parts, account)
    if not wallets:
        terms = _terms(parts, account)
        homes = first_homes(parts, account, terms)
        ours = [make_key(parts, account, home, terms.network) for home in homes]
        keys = (*ours, *terms.others)
        wallet = BitcoinWallet(
            account_id=account,
            number=1,
            descriptor=Descriptor.of(terms.kind, terms.threshold, keys, terms.network),
            signers={key.fingerprint: wallet_id for key, (wallet_id, _) in zip(ours, homes, strict=True)},
            use=WalletUse.CURRENT,
            step_key="",
        )
        wallets = (_stored(parts, wallet),)
    signed = sign_destinations(parts, account)
    has = f"Account has its Bitcoin wallet and {signed} signed safe destinations"
    with parts.db.begin() as uow:
        current = _current_locked(uow, account)
        first, known = address_of(current), uow.registry.account(account).addresses
        addresses = known if known[:1] == (first,) else (first,)
        made = {"descriptor": current.descriptor.text}
        end_provisioning(uow, account, addresses, has, {**made, "destinations": signed})
    return Receipt(account, {"addresses": list(addresses), **made})


def rekey(parts: VaultParts, account: AccountId, loss: Loss, step_key: str) -> BitcoinWallet:
    """Return the wallet that is prepared, or that this step made, or make it: the current one, all keys of ours fresh.

    How far the fresh keys are from the lost ones follows from `loss` where a seed can have several. One that answers a
    smaller loss, or a seed of which is lost meanwhile, is replaced. Raises RefusedByOtherSideError when a fresh key does not
    sign.
    """
    wallets = wallets_of(parts, account)
    found = prepared_of(wallets) or next((w for w in reversed(wallets) if w.step_key == step_key), None)
    current = current_of(wallets, account)
    overtaken = found if found is not None and _is_too_shallow(parts, found, current, loss) else None
    if found is not None and overtaken is None:
        return found
    descriptor, signers = current.descriptor, {}
    for lost, home in fresh_homes(parts, wallets, current, loss).items():
        fresh = make_key(parts, account, home, descriptor.network)
        descriptor = descriptor.rekeyed(descriptor.named(lost), fresh)
        signers[fresh.fingerprint] = home[0]
    made = replace(current, number=len(wallets) + 1, descriptor=descriptor, signers=signers, use=WalletUse.PREPARED,
                   step_key=step_key)  # fmt: skip
    return _stored(parts, made, overtaken)


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
    return tuple(k for k in parts.keys_of(wallet.account_id) if home_of(k) in wallet.homes)


def address_of(wallet: BitcoinWallet) -> str:
    """Return a wallet's first address as CAIP-10."""
    return f"{wallet.descriptor.network.chain}:{wallet.descriptor.address(RECEIVE, 0)}"


def note_addresses(parts: VaultParts, wallet: BitcoinWallet, coins: Sequence[Coin]) -> None:
    """Add the addresses that hold coins, given the largest first, to those that the account is known by.

    So that money which goes to one of them counts as ours, and a trace begins at each. At most `MOST_KNOWN` are kept: the
    first address, what holds coins now, and what did before. Of a wallet that was replaced while its coins were looked for
    none is added: whoever stole its keys is no longer us.
    """
    network, account = wallet.descriptor.network, wallet.account_id
    held = dict.fromkeys(coin.place.script_pubkey for coin in coins)
    named = [f"{network.chain}:{address_of_script(script, network)}" for script in held]
    with parts.db.begin() as uow:
        if _current_locked(uow, account).number != wallet.number:
            return
        known = uow.registry.account(account).addresses
        addresses = tuple(dict.fromkeys((*known[:1], *named, *known[1:])))[:MOST_KNOWN]
        if set(addresses) != set(known):
            uow.keys.provisioned(account, addresses)


def make_current(uow: UnitOfWork, old: BitcoinWallet, new: BitcoinWallet) -> None:
    """Let a prepared wallet take the old one's place; the account is known by its address alone.

    Raises ConflictError when one of them is no longer that: another worker was quicker, or more turned out lost.
    """
    _lock_addresses(uow, old.account_id)
    now = {wallet.number: wallet.use for wallet in uow.bitcoin.wallets(old.account_id)}
    if (now[old.number], now[new.number]) != (WalletUse.CURRENT, WalletUse.PREPARED):
        raise ConflictError(f"the wallets of account {old.account_id} were replaced meanwhile: look again")
    uow.bitcoin.set_use(old.account_id, old.number, WalletUse.REPLACED)
    uow.bitcoin.set_use(new.account_id, new.number, WalletUse.CURRENT)
    uow.keys.provisioned(old.account_id, (address_of(new),))
    if new.descriptor.kind.is_single:
        ((wallet_id, path),) = new.homes
        uow.keys.reserve_path(old.account_id, wallet_id, path)


def _current_locked(uow: UnitOfWork, account: AccountId) -> BitcoinWallet:
    """Return the current wallet, which stays it until the transaction ends."""
    _lock_addresses(uow, account)
    return current_of(uow.bitcoin.wallets(account), account)


def _lock_addresses(uow: UnitOfWork, account: AccountId) -> None:
    """Let nobody else write which addresses the account is known by until the transaction ends."""
    uow.lock(f"bitcoin-addresses:{account}")


def _terms(parts: VaultParts, account: AccountId) -> WalletTerms:
    with parts.db.begin() as uow:
        connection = uow.registry.connection(uow.registry.account(account).at.connection)
    if connection.platform != PLATFORM:
        raise MissingCapabilityError(
            f"account {account} has Bitcoin assets but its connection is of platform {connection.platform}: register it"
            f" under a connection of platform {PLATFORM}, which says what its wallet is made of"
        )
    return read_terms(connection.settings)


def _is_too_shallow(parts: VaultParts, prepared: BitcoinWallet, current: BitcoinWallet, loss: Loss) -> bool:
    """Say whether the thief has, or may have, what keys of a prepared wallet are derived from."""
    if prepared.use is not WalletUse.PREPARED:
        return False
    if loss is not Loss.LEAF and set(prepared.signers.values()) & set(current.signers.values()):
        return True
    with parts.db.begin() as uow:
        return not are_whole(uow, prepared.signers.values())


def _stored(parts: VaultParts, wallet: BitcoinWallet, overtaken: BitcoinWallet | None = None) -> BitcoinWallet:
    if not answers(parts, wallet):
        raise RefusedByOtherSideError(
            f"a key of wallet {wallet.number} of account {wallet.account_id} does not sign for its address: stop and look"
        )
    try:
        with parts.db.begin() as uow:
            if overtaken is not None:
                uow.bitcoin.set_use(wallet.account_id, overtaken.number, WalletUse.REPLACED)
            uow.bitcoin.add(wallet)
            if wallet.descriptor.kind.is_taproot:
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
