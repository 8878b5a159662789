"""Bitcoin wallets and their prepared sweeps in the store; written by the key worker alone."""

from collections.abc import Sequence
from typing import Protocol

from service.domain.bitcoin.wallet import BitcoinWallet, PreparedSweep, WalletUse
from service.domain.ids import AccountId


class BitcoinStore(Protocol):
    """Descriptors and what is kept ready."""

    def wallets(self, account_id: AccountId) -> Sequence[BitcoinWallet]:
        """Return an account's wallets, oldest first."""
        ...

    def add(self, wallet: BitcoinWallet) -> None:
        """Insert a wallet. Raises ConflictError when its number is taken."""
        ...

    def set_use(self, account_id: AccountId, number: int, use: WalletUse) -> None:
        """Say what a wallet is from now on."""
        ...

    def reach(self, account_id: AccountId, number: int, receive: int, change: int) -> None:
        """Note that leaves below these indices may be in the token; a reach never shrinks."""
        ...

    def prepared(self, account_id: AccountId) -> PreparedSweep | None:
        """Return the sweep that is kept ready, or None."""
        ...

    def keep(self, sweep: PreparedSweep) -> None:
        """Replace the sweep that is kept ready."""
        ...

    def stale(self, limit: int, older_than_s: float) -> Sequence[AccountId]:
        """Return accounts with a current wallet whose sweep was not made anew within so many seconds, stalest first."""
        ...
