"""The vault's records in the store; written by the key worker alone."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from service.domain.ids import AccountId
from service.domain.vault import RotationRecord, SweepState, SweepTransaction, VaultKey, Wallet, WalletState


class KeyStore(Protocol):
    """Wallets, leaf keys, rotations, sweeps."""

    def wallet(self, wallet_id: str) -> Wallet | None:
        """Return a wallet, or None."""
        ...

    def add_wallet(self, wallet: Wallet) -> None:
        """Insert a wallet."""
        ...

    def replace_seed(self, wallet_id: str, before: bytes, after: bytes) -> bool:
        """Put another envelope in the place of `before`, of a restored seed from now on; False when it was not there."""
        ...

    def set_wallet_state(self, wallet_id: str, state: WalletState) -> None:
        """Move a wallet to another state."""
        ...

    def account_paths(self, wallet_id: str) -> Sequence[str]:
        """Return every account path that was ever given out in a wallet."""
        ...

    def reserve_path(self, account_id: AccountId, wallet_id: str, path: str) -> None:
        """Give an account its wallet and account path; the caller holds the wallet's lock."""
        ...

    def add_keys(self, keys: Sequence[VaultKey]) -> None:
        """Insert leaf keys; one that is there already at (wallet, path) stays as it is."""
        ...

    def keys_of(self, account_id: AccountId) -> Sequence[VaultKey]:
        """Return an account's leaf keys, oldest first."""
        ...

    def keys_under(self, wallet_id: str) -> Sequence[VaultKey]:
        """Return the keys of whatever account that are derived from a wallet's seed, oldest first."""
        ...

    def keys_at(self, addresses: Sequence[str]) -> Sequence[VaultKey]:
        """Return the leaf keys of these 0x addresses, of whatever account, oldest first."""
        ...

    def given_up(self) -> Sequence[VaultKey]:
        """Return the keys, of whatever account, that are not active or whose wallet is not, oldest first."""
        ...

    def set_key_state(self, key_ids: Sequence[str], before: Collection[str], after: str) -> Sequence[str]:
        """Move those of these leaf keys that are in one of the states `before`; return their ids, oldest first.

        All of them stay as they are for everybody else until the transaction ends.
        """
        ...

    def schedule_destruction(self, key_ids: Sequence[str], at: datetime, by: str) -> None:
        """Write down from when retired keys are destroyed, and by which step; a time that stands is kept."""
        ...

    def assets(self, account_id: AccountId) -> Sequence[str]:
        """Return the CAIP-19 ids that a sweep of the account must carry."""
        ...

    def usd_of_units(self, account_id: AccountId) -> Mapping[str, Decimal]:
        """Return the most US dollars that a base unit of each asset (lower case) was worth in activities of the account.

        The newest ones are looked at, of those over a dollar; an asset that none of them prices is not named.
        """
        ...

    def provisioned(self, account_id: AccountId, addresses: Sequence[str]) -> bool:
        """Write an account's addresses and mark it ready; False when it was so already."""
        ...

    def sign_destination(self, account_id: AccountId, chain: str, active_from: datetime, signature: bytes) -> None:
        """Store the vault's signature of the safe destination that is registered for this chain from this moment."""
        ...

    def rotation(self, account_id: AccountId) -> RotationRecord | None:
        """Return the account's newest rotation, locked until the transaction ends."""
        ...

    def add_rotation(self, record: RotationRecord) -> None:
        """Insert a rotation."""
        ...

    def save_rotation(self, record: RotationRecord) -> None:
        """Write a rotation's state and events."""
        ...

    def begin_sweep(self, account_id: AccountId, step_key: str, keys_of: str) -> str:
        """Write down, once, whose keys a step begins to empty; return what its first attempt wrote."""
        ...

    def begun_sweep(self, account_id: AccountId, step_key: str) -> str | None:
        """Return whose keys a step began to empty, or None."""
        ...

    def sweeps(self, account_id: AccountId) -> Sequence[SweepTransaction]:
        """Return the account's sweep transactions, in order of nonce."""
        ...

    def add_sweep(self, sweep: SweepTransaction) -> None:
        """Insert a signed sweep transaction. Raises ConflictError when the nonce is taken by another."""
        ...

    def set_sweep_state(self, sweep_id: str, state: SweepState) -> None:
        """Move a sweep transaction to another state."""
        ...

    def guardian_gas(self, chain: str, since: datetime, *, besides: int) -> int:
        """Return the gas that the guardian's transactions on a chain were given since then, but for one nonce.

        What lies ahead by more than workers' clocks differ was written by a clock that was wrong, and counts for nothing.
        """
        ...

    def use_guardian_gas(self, chain: str, nonce: int, gas: int) -> None:
        """Note the gas of the guardian's transaction at a nonce, in place of what was noted for it."""
        ...
