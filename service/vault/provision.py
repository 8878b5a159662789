"""A registered account gets its wallet, its leaf and its signed safe destinations.

A multisig keeps its own address; its leaf is the key that takes the place of an owner who has to go.

Rules: a wallet's seed is drawn once, whoever asks first; an account path is given out once per wallet, never again, not
even after a rotation; nothing new is derived from a wallet that counts as compromised; under a restored seed the account
also gets every leaf that its chains have seen (BIP-44 gap limit), because a sweep must empty those too; a safe destination
is signed by the vault only when the authority's signature over the same account, chain, descriptor and time verifies
against the pinned key.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import structlog

from hsm.custodian import KeyRef, LeafKey, SealedSeed
from hsm.derivation import ExtendedKey, evm_address
from hsm.errors import HsmInputError, StatementError
from hsm.gap import used_leaves
from hsm.keypath import COIN_ETHEREUM, PURPOSE_BIP44, DerivationPath
from hsm.restrictions import KeyState
from hsm.statements import SafeDestination
from service.domain.account import Holder
from service.domain.errors import ApprovalError, ConflictError, InputError
from service.domain.ids import AccountId, new_id
from service.domain.plan import Receipt
from service.domain.setup import registered_destination
from service.domain.timeline import Entry
from service.domain.vault import VaultKey, Wallet, WalletState
from service.ports.chain import EvmChain
from service.ports.store.registry import DestinationRow
from service.ports.store.unit import UnitOfWork
from service.vault.entries import end_provisioning
from service.vault.parts import VaultParts, token_calls

_log = structlog.get_logger()
EVM_PATH: Final = DerivationPath.account(PURPOSE_BIP44, COIN_ETHEREUM, 0)
"""The first account path of EVM accounts under a seed."""
BITCOIN_WALLET: Final = "bitcoin-"
"""What the names of the seeds of Bitcoin wallets of several keys begin with; no other account shares these."""
DEFAULT_CHAIN: Final = "eip155:1"


def provision(parts: VaultParts, account_id: AccountId) -> Receipt:
    """Provision one account; safe to repeat at any point."""
    with parts.db.begin() as uow:
        account = uow.registry.account(account_id)
        chains = chains_of(uow.keys.assets(account_id))
    addresses: tuple[str, ...] = account.addresses
    if account.holder is not Holder.PLATFORM:
        wallet_id, path = reserve(parts, account_id, EVM_PATH)
        make_leaf(parts, account_id, wallet_id, path, chains[0])
        if account.holder is Holder.VAULT_KEY:
            add_used_leaves(parts, account_id, wallet_id, path, chains)
            addresses = addresses_of(parts.keys_of(account_id), wallet_id, path, chains)
    signed = sign_destinations(parts, account_id)
    has = f"Account {account.at.ref} has its keys and {signed} signed safe destinations"
    with parts.db.begin() as uow:
        end_provisioning(uow, account_id, addresses, has, {"destinations": signed})
    return Receipt(account_id, {"addresses": list(addresses)})


def chains_of(assets: Sequence[str]) -> tuple[str, ...]:
    """Return the EVM chains (CAIP-2) of CAIP-19 assets, sorted; Ethereum where none is named."""
    named = sorted({asset.partition("/")[0] for asset in assets if asset.startswith("eip155:")})
    return tuple(named) or (DEFAULT_CHAIN,)


def ensure_wallet(parts: VaultParts, wallet_id: str) -> SealedSeed:
    """Return a wallet's sealed seed, drawing it in the token if it is not there yet.

    Raises what `VaultParts.seed` raises, and ConflictError for a wallet that is no longer active: its seed counts as lost.
    """
    with parts.db.begin() as uow:
        wallet = uow.keys.wallet(wallet_id)
    if wallet is None:
        with token_calls():
            sealed = parts.token.create_wallet(wallet_id)
        with parts.db.begin() as uow:
            uow.lock(wallet_lock(wallet_id))
            wallet = uow.keys.wallet(wallet_id)
            if wallet is None:
                wallet = Wallet(wallet_id, sealed.envelope, WalletState.ACTIVE, sealed.restored)
                uow.keys.add_wallet(wallet)
    if wallet.state is not WalletState.ACTIVE:
        raise ConflictError(f"wallet {wallet_id} is {wallet.state.value}: nothing new is derived from its seed")
    return parts.seed(wallet_id)


def are_whole(uow: UnitOfWork, wallet_ids: Iterable[str]) -> bool:
    """Say whether every one of these wallets is there and none of their seeds counts as lost."""
    found = (uow.keys.wallet(wallet_id) for wallet_id in wallet_ids)
    return all(wallet is not None and wallet.state is WalletState.ACTIVE for wallet in found)


def require_whole(uow: UnitOfWork, account_id: AccountId, wallet_ids: Iterable[str]) -> None:
    """Raise ConflictError when a seed of an account's new keys counts as lost: they must never become current."""
    if not are_whole(uow, wallet_ids):
        raise ConflictError(
            f"a seed of the new keys of account {account_id} counts as lost: ask for prepare_rotation again"
        )


def make_leaf(parts: VaultParts, account_id: AccountId, wallet_id: str, path: str, chain: str) -> VaultKey:
    """Put the account's first leaf into the token and into our records; returns what is recorded.

    Raises ConflictError when the path belongs to another account.
    """
    leaf_path = DerivationPath.parse(path).leaf(0, 0)
    with parts.db.begin() as uow:
        found = _recorded(uow.keys.keys_of(account_id), wallet_id, str(leaf_path))
    if found is not None:
        return found
    sealed = ensure_wallet(parts, wallet_id)
    with token_calls():
        leaf = parts.token.leaf(sealed, wallet_id, leaf_path)
    with parts.db.begin() as uow:
        uow.keys.add_keys([key_of(account_id, leaf, chain)])
        found = _recorded(uow.keys.keys_of(account_id), wallet_id, str(leaf_path))
    if found is None:
        raise ConflictError(f"{path} of wallet {wallet_id} belongs to another account: register {account_id} anew")
    return found


def key_of(account_id: AccountId, leaf: LeafKey, chain: str) -> VaultKey:
    """Return the record of an account's leaf."""
    return VaultKey(
        id=new_id("key"),
        wallet_id=leaf.ref.wallet_id,
        account_id=account_id,
        path=str(leaf.ref.path),
        chain=chain,
        public_key=leaf.public_key,
        address=evm_address(leaf.public_key),
        state=KeyState.ACTIVE.value,
    )


def add_used_leaves(parts: VaultParts, account_id: AccountId, wallet_id: str, path: str, chains: Sequence[str]) -> None:
    """Record the leaves under a restored seed that a chain has seen; the token gets each at its first use.

    Raises MissingCapabilityError without an endpoint of each chain, UnavailableError when a chain does not answer: what
    cannot be asked is not unused.
    """
    with parts.db.begin() as uow:
        wallet = uow.keys.wallet(wallet_id)
        assets = uow.keys.assets(account_id)
    if wallet is None or not wallet.restored:
        return
    asked = [(parts.chain(chain), _tokens_on(chain, assets)) for chain in chains]
    account, sealed = DerivationPath.parse(path), parts.seed(wallet_id)
    with token_calls():
        public = parts.token.open_account(sealed, wallet_id, account)
    try:
        found = used_leaves(ExtendedKey.parse(public.xpub), lambda key: _is_used(evm_address(key), asked))
    except HsmInputError as error:
        raise ConflictError(f"the leaves of account {account_id} cannot be listed: {error}") from error
    leaves = [LeafKey(KeyRef(wallet_id, account.below(leaf.below)), leaf.public_key) for leaf in found]
    with parts.db.begin() as uow:
        uow.keys.add_keys([key_of(account_id, leaf, chains[0]) for leaf in leaves])


def _tokens_on(chain: str, assets: Sequence[str]) -> tuple[str, ...]:
    return tuple(a.partition("/erc20:")[2] for a in assets if a.startswith(f"{chain}/erc20:"))


def _is_used(address: str, asked: Sequence[tuple[EvmChain, tuple[str, ...]]]) -> bool:
    return any(
        chain.next_nonce(address) > 0
        or chain.balance(address) > 0
        or any(chain.token_balance(token, address) > 0 for token in tokens)
        for chain, tokens in asked
    )


def addresses_of(keys: Sequence[VaultKey], wallet_id: str, path: str, chains: Sequence[str]) -> tuple[str, ...]:
    """Return the CAIP-10 addresses of an account's leaves below an account path, in order of their paths."""
    below = sorted(
        (DerivationPath.parse(k.path), k.address)
        for k in keys
        if k.wallet_id == wallet_id and k.path.startswith(f"{path}/")
    )
    return tuple(f"{chain}:{address}" for chain in chains for _, address in below)


def free_path(taken: set[str], path: DerivationPath) -> str:
    """Return the first account path, from `path` on, that was never given out."""
    while str(path) in taken:
        path = path.next_account()
    return str(path)


def wallet_lock(wallet_id: str) -> str:
    """Return the name of the lock under which a wallet's seed is drawn and its paths are given out."""
    return f"wallet:{wallet_id}"


def destination_of(row: DestinationRow) -> SafeDestination:
    """Return the statement that the vault signs for a row: every asset of the chain."""
    return SafeDestination(row.account_id, row.chain, "*", row.descriptor, row.active_from)


def _recorded(keys: Sequence[VaultKey], wallet_id: str, leaf_path: str) -> VaultKey | None:
    return next((k for k in keys if (k.wallet_id, k.path) == (wallet_id, leaf_path)), None)


def reserve(parts: VaultParts, account_id: AccountId, first: DerivationPath) -> tuple[str, str]:
    """Return an account's vault wallet and account path, giving it the first free one from `first` on; the same each time.

    Raises InputError for a wallet that no account may share.
    """
    with parts.db.begin() as uow:
        account = uow.registry.account(account_id)
        wallet_id = account.wallet_id or f"wallet-{account_id.lower()}"
        if wallet_id.startswith(BITCOIN_WALLET):
            raise InputError(
                f"{wallet_id} is a Bitcoin account's alone: give the account another wallet_id", field="wallet_id"
            )
        uow.lock(wallet_lock(wallet_id))
        account = uow.registry.account(account_id)
        if account.account_path is not None:
            return wallet_id, account.account_path
        path = free_path(set(uow.keys.account_paths(wallet_id)), first)
        uow.keys.reserve_path(account_id, wallet_id, path)
    return wallet_id, path


def sign_destinations(parts: VaultParts, account_id: AccountId) -> int:
    """Sign the account's safe destinations that the authority stated; return how many are signed."""
    with parts.db.begin() as uow:
        rows = uow.registry.destinations(account_id)
    signed = 0
    for row in rows:
        try:
            signature_of(parts, row)
        except ApprovalError as error:
            # A row that somebody slipped in must not stop the genuine ones; it is never signed.
            _log.warning("safe_destination.not_signed", account=account_id, chain=row.chain, reason=str(error))
        else:
            signed += 1
    return signed


def signature_of(parts: VaultParts, row: DestinationRow) -> bytes:
    """Return the vault's signature of a safe destination, made anew where the row has none of this token.

    Raises ApprovalError when the authority did not state just this destination: then nothing is signed.
    """
    if row.signature is not None and _is_signed(parts, row, row.signature):
        return row.signature
    return _sign_destination(parts, row)


def _is_signed(parts: VaultParts, row: DestinationRow, signature: bytes) -> bool:
    try:
        parts.statements.verify_statement(destination_of(row).to_bytes(), signature)
    except StatementError:
        return False
    return True


def _sign_destination(parts: VaultParts, row: DestinationRow) -> bytes:
    with parts.db.begin() as uow:
        at = uow.registry.account(row.account_id).at
    said = registered_destination(row.registered, parts.authority_pem)
    stored = (row.account_id, at.connection, at.ref, row.chain, row.descriptor, row.active_from)
    if (said.account, said.connection, said.ref, said.chain, said.descriptor, said.active_from) != stored:
        raise ApprovalError("a safe destination's row differs from what the authority signed: it is not used")
    with token_calls():
        signature = parts.statements.sign_statement(destination_of(row).to_bytes())
    with parts.db.begin() as uow:
        uow.keys.sign_destination(row.account_id, row.chain, row.active_from, signature)
        uow.record(
            Entry(
                kind="safe_destination.signed",
                at=uow.now,
                subject=row.account_id,
                sentence=f"Safe destination signed in the vault: {row.descriptor} on {row.chain}",
                facts={"chain": row.chain, "descriptor": row.descriptor, "active_from": row.active_from.isoformat()},
            )
        )
    return signature
