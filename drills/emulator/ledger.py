"""The ledger: who holds how much of what, on the emulated chain. Funds are created only by `mint` and never destroyed.

Every change of address is one `Movement`; what was lost or saved is read from the movements alone (figures.py).
"""

import secrets
from collections import defaultdict

from drills.emulator.clock import now_ms
from drills.emulator.errors import FundsError, NotFoundError
from drills.emulator.records import Account, Asset, Destination, Movement


class Ledger:
    """Balances by (address, asset id), reservations by transaction id, and the movements that led there."""

    def __init__(self) -> None:
        self.assets: dict[str, Asset] = {}
        self.accounts: dict[str, Account] = {}
        self.destinations: dict[str, Destination] = {}
        self.movements: list[Movement] = []
        self.minted: dict[str, int] = defaultdict(int)
        self._balances: dict[tuple[str, str], int] = defaultdict(int)
        self._reserved: dict[str, tuple[str, str, int]] = {}
        self._owner: dict[str, str] = {}

    def asset(self, asset_id: str) -> Asset:
        """The asset; NotFoundError."""
        if asset_id not in self.assets:
            raise NotFoundError(f"asset {asset_id!r} is not known; known: {', '.join(sorted(self.assets))}")
        return self.assets[asset_id]

    def account(self, account_id: str) -> Account:
        """The account; NotFoundError."""
        if account_id not in self.accounts:
            raise NotFoundError(f"vault account {account_id!r} does not exist")
        return self.accounts[account_id]

    def add_account(self, account: Account) -> None:
        """Register an account and its addresses."""
        self.accounts[account.id] = account
        for address in account.addresses:
            self._owner[address] = account.id

    def add_address(self, account_id: str, address: str) -> None:
        """Give an account one more address."""
        self.account(account_id).addresses.append(address)
        self._owner[address] = account_id

    def owner(self, address: str) -> Account | None:
        """The account that owns an address, if any."""
        found = self._owner.get(address)
        return None if found is None else self.accounts[found]

    def mint(self, address: str, asset_id: str, amount: int) -> None:
        """Create funds; for seeding only. `amount` in base units, not negative."""
        if amount < 0:
            raise FundsError(f"cannot create a negative amount of {asset_id}")
        self.minted[self.asset(asset_id).id] += amount
        self._balances[address, asset_id] += amount

    def balance(self, address: str, asset_id: str) -> int:
        """Base units at one address."""
        return self._balances.get((address, asset_id), 0)

    def account_balance(self, account_id: str, asset_id: str) -> int:
        """Base units over all addresses of an account."""
        return sum(self.balance(address, asset_id) for address in self.account(account_id).addresses)

    def reserved(self, account_id: str, asset_id: str) -> int:
        """Base units set aside for transactions that are not signed yet."""
        return sum(n for account, asset, n in self._reserved.values() if (account, asset) == (account_id, asset_id))

    def reserve(self, transaction_id: str, account_id: str, asset_id: str, amount: int) -> None:
        """Set funds aside; FundsError when what is free does not cover it."""
        free = self.account_balance(account_id, asset_id) - self.reserved(account_id, asset_id)
        if amount > free:
            raise FundsError(f"account {account_id} has {free} base units of {asset_id} free, {amount} asked")
        self._reserved[transaction_id] = (account_id, asset_id, amount)

    def release(self, transaction_id: str) -> None:
        """Free what was set aside; harmless when nothing was."""
        self._reserved.pop(transaction_id, None)

    def move(self, sender: str, recipient: str, asset_id: str, amount: int, tx_hash: str = "") -> Movement:
        """Move funds between two addresses at once; FundsError leaves everything as it was."""
        held = self.balance(sender, self.asset(asset_id).id)
        if amount < 0 or amount > held:
            raise FundsError(f"{sender} holds {held} base units of {asset_id}, {amount} asked")
        self._balances[sender, asset_id] -= amount
        self._balances[recipient, asset_id] += amount
        reference = tx_hash or "0x" + secrets.token_hex(32)
        movement = Movement(len(self.movements) + 1, now_ms(), sender, recipient, asset_id, amount, reference)
        self.movements.append(movement)
        return movement

    def totals(self) -> dict[str, int]:
        """Base units in existence by asset id; always equal to what was minted."""
        found: dict[str, int] = defaultdict(int)
        for (_, asset_id), amount in self._balances.items():
            found[asset_id] += amount
        return dict(found)

    def is_conserved(self) -> bool:
        """True when nothing was created or lost since seeding and no balance is negative."""
        none_negative = all(amount >= 0 for amount in self._balances.values())
        return none_negative and all(self.totals().get(asset, 0) == n for asset, n in self.minted.items())

    def holdings(self) -> list[tuple[str, str, int]]:
        """Every non-zero balance as (address, asset id, base units), sorted."""
        return sorted((address, asset, n) for (address, asset), n in self._balances.items() if n)
