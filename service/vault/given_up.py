"""Which safe destinations are our own and lost: no sweep goes there, whoever registered them (design D4).

Rules: what a key of the vault's receives is lost from the moment that the key may do less than sign freely (restricted,
retired, destroyed) or that its seed counts as lost; of a Bitcoin wallet one such key of ours is enough, and so is that it
was replaced. An EVM address is the same on every chain. A Bitcoin address is looked for in such wallets as far as they were
used and `GAP` addresses beyond, on both branches; a descriptor is lost, too, when it names such a key, or any key of a lost
seed by the seed's fingerprint (BIP-380), in whatever wallet.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Final

from hsm.restrictions import KeyState
from service.domain.bitcoin.descriptor import Cosigner, Descriptor
from service.domain.bitcoin.network import Network, network_of
from service.domain.bitcoin.sweep import destination
from service.domain.bitcoin.wallet import BitcoinWallet, WalletUse
from service.domain.errors import InputError
from service.domain.vault import VaultKey, WalletState
from service.ports.store.unit import UnitOfWork
from service.vault.bitcoin_coins import GAP

_EVM: Final = "eip155:"
_KEPT: Final = 1_024
"""Wallets whose addresses are derived once: tens of milliseconds each."""


def why_lost(uow: UnitOfWork, chain: str, descriptor: str) -> str | None:
    """Return what is lost about a destination that is ours, as a sentence; None for one that is not, or not lost."""
    if chain.startswith(_EVM):
        key = next((k for k in uow.keys.keys_at([descriptor]) if _is_given_up(uow, k)), None)
        return None if key is None else _told(uow, key)
    network = network_of(chain)
    keys = [k for k in uow.keys.given_up() if k.chain == chain]
    try:
        script = destination(descriptor, network)
        named = Descriptor.parse(descriptor, network).keys if "(" in descriptor else ()
    except InputError:
        return None  # pays nothing: whoever sweeps to it is told what is wrong with it
    key = next((k for k in keys for one in named if _is_of(uow, k, one, network)), None)
    return _wallet_lost(uow, keys, script) if key is None else _told(uow, key)


def _is_given_up(uow: UnitOfWork, key: VaultKey) -> bool:
    return key.state != KeyState.ACTIVE.value or _seed_state(uow, key) is not WalletState.ACTIVE


def _is_of(uow: UnitOfWork, key: VaultKey, named: Cosigner, network: Network) -> bool:
    """Say whether a key that a descriptor names is the one given up, or of its lost seed."""
    if bytes(named.extended(network).key.sec()) == key.public_key:
        return True
    return named.fingerprint == key.address and _seed_state(uow, key) is not WalletState.ACTIVE


def _wallet_lost(uow: UnitOfWork, keys: Sequence[VaultKey], script: bytes) -> str | None:
    """Say which wallet with a key that was given up receives at an output script."""
    by_home = {(k.wallet_id, k.path): k for k in keys}
    for account in dict.fromkeys(k.account_id for k in keys):
        for wallet in uow.bitcoin.wallets(account):
            lost = [by_home[home] for home in sorted(wallet.homes) if home in by_home]
            if not (lost or wallet.use is WalletUse.REPLACED) or script not in _scripts_of(wallet):
                continue
            name = f"wallet {wallet.number} of account {account}, {wallet.use.value}"
            return f"{name}, {_told(uow, lost[0])}" if lost else name
    return None


def _scripts_of(wallet: BitcoinWallet) -> frozenset[bytes]:
    receive, change = wallet.reach
    return _scripts(wallet.descriptor, receive + GAP, change + GAP)


@lru_cache(_KEPT)
def _scripts(descriptor: Descriptor, *ends: int) -> frozenset[bytes]:
    return frozenset(descriptor.place(b, i).script_pubkey for b, end in enumerate(ends) for i in range(end))


def _told(uow: UnitOfWork, key: VaultKey) -> str:
    return (
        f"key {key.path} of account {key.account_id} is {key.state}, its seed {key.wallet_id} {_seed_state(uow, key)}"
    )


def _seed_state(uow: UnitOfWork, key: VaultKey) -> WalletState | None:
    wallet = uow.keys.wallet(key.wallet_id)
    return None if wallet is None else wallet.state
