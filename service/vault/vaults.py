"""One vault for accounts of every chain: each account's assets say which of them holds its keys.

Rule: an account has assets of EVM chains or of one Bitcoin network, never of both: its safe destinations, its sweep and its
rotation are of one kind.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Final

from service.domain.errors import InputError
from service.domain.ids import AccountId
from service.domain.plan import Receipt, Verdict
from service.domain.standing import Standing
from service.ports.keys import StillMine, VaultKeys
from service.vault.bitcoin import BitcoinVault
from service.vault.keys import Vault
from service.vault.parts import VaultParts

BITCOIN: Final = "bip122:"


class Vaults:
    """Implements `ports.keys.VaultKeys` by handing each call to the account's own vault."""

    def __init__(self, parts: VaultParts) -> None:
        self._parts = parts
        self._evm = Vault(parts)
        self._bitcoin = BitcoinVault(parts)

    def refresh(self) -> int:
        """Make stale Bitcoin sweeps ready anew; return how many."""
        return self._bitcoin.refresh()

    def final(self) -> "Vaults":
        """See the port."""
        return Vaults(replace(self._parts, at_last=True))

    def standing(self, account: AccountId, transactions: Collection[str]) -> Standing:
        """See the port."""
        return self._of(account).standing(account, transactions)

    def provision(self, account: AccountId) -> Receipt:
        """See the port."""
        return self._of(account).provision(account)

    def restrict(self, account: AccountId, *, key: str) -> Receipt:
        """See the port."""
        return self._of(account).restrict(account, key=key)

    def restricted(self, account: AccountId) -> Verdict:
        """See the port."""
        return self._of(account).restricted(account)

    def lift_restriction(self, account: AccountId, *, key: str, still_mine: StillMine) -> Receipt:
        """See the port."""
        return self._of(account).lift_restriction(account, key=key, still_mine=still_mine)

    def replace_pending(self, account: AccountId, up_to: Mapping[str, int], *, key: str) -> Receipt:
        """See the port."""
        return self._of(account).replace_pending(account, up_to, key=key)

    def pending_replaced(self, account: AccountId, up_to: Mapping[str, int]) -> Verdict:
        """See the port."""
        return self._of(account).pending_replaced(account, up_to)

    def revoke_allowances(self, account: AccountId, *, key: str) -> Receipt:
        """See the port."""
        return self._of(account).revoke_allowances(account, key=key)

    def allowances_revoked(self, account: AccountId) -> Verdict:
        """See the port."""
        return self._of(account).allowances_revoked(account)

    def prepare_rotation(self, account: AccountId, scope: str, *, key: str) -> Receipt:
        """See the port."""
        return self._of(account).prepare_rotation(account, scope, key=key)

    def rotation_prepared(self, account: AccountId) -> Verdict:
        """See the port."""
        return self._of(account).rotation_prepared(account)

    def rotation_address(self, account: AccountId) -> str:
        """See the port."""
        return self._of(account).rotation_address(account)

    def sweep(self, account: AccountId, *, key: str) -> Receipt:
        """See the port."""
        return self._of(account).sweep(account, key=key)

    def swept(self, account: AccountId, *, key: str = "") -> Verdict:
        """See the port."""
        return self._of(account).swept(account, key=key)

    def retire(self, account: AccountId, *, key: str) -> Receipt:
        """See the port."""
        return self._of(account).retire(account, key=key)

    def retired(self, account: AccountId) -> Verdict:
        """See the port."""
        return self._of(account).retired(account)

    def destroy(self, account: AccountId, *, key: str) -> Receipt:
        """See the port."""
        return self._of(account).destroy(account, key=key)

    def destroy_due(self, account: AccountId) -> int:
        """See the port."""
        return self._of(account).destroy_due(account)

    def destroyed(self, account: AccountId) -> Verdict:
        """See the port."""
        return self._of(account).destroyed(account)

    def _of(self, account: AccountId) -> VaultKeys:
        with self._parts.db.begin() as uow:
            assets = uow.keys.assets(account)
        bitcoin = [asset for asset in assets if asset.startswith(BITCOIN)]
        if bitcoin and len(bitcoin) != len(assets):
            raise InputError(
                f"account {account} has assets of Bitcoin and of other chains: register one account for each",
                field="assets",
            )
        return self._bitcoin if bitcoin else self._evm
