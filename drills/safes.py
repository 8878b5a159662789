"""The real Safes of a scenario: created, given their owners, signed for when the script asks.

Rules: a Safe exists before Portcullis is set up, with people and a platform's account as owners; the vault's keys join once
they are made, by the signatures of those owners, as the guide for multisigs tells it; what is signed is signed for the
Safe's nonce of that moment.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from drills import addresses
from drills.evm.node import Node
from drills.evm.safe import Factory, Safe, usurping
from drills.evm.wallet import Wallet
from drills.scenario_form import Scenario, ScenarioAccount, SigningRequest

PURSE_WEI = 10**18
"""What an owner or the guardian needs at most for the gas of a drill."""


@dataclass(slots=True)
class Safes:
    """The Safes of one scenario on one node; `made` by account once `create` ran."""

    scenario: Scenario
    node: Node
    made: dict[str, Safe] = field(default_factory=dict)

    def create(self) -> dict[str, str]:
        """Create every Safe; returns the CAIP-10 address by account. EvmError."""
        factory = Factory.deployed(self.node)
        for salt, account in enumerate(self.scenario.safes):
            owners = [self._address(owner) for owner in self._first(account)]
            self.made[account.id] = factory.create(owners, _threshold(account), salt)
        chain_id = self.scenario.chain_id
        return {account: addresses.caip10(chain_id, safe.address) for account, safe in self.made.items()}

    def complete(self, accounts: Mapping[str, str]) -> None:
        """Let the owners add the vault's keys; `accounts`: CAIP-10 address by account. EvmError."""
        for account in self.scenario.safes:
            first = self._first(account)
            ours = [_plain(accounts[o]) for o in _owners(account) if o not in first]
            sender = next(o for o in first if not self._is_person(o))
            people = [self.wallet(o) for o in first if self._is_person(o)][: _threshold(account) - 1]
            self.node.give(self._address(sender), PURSE_WEI)
            self.made[account.id].add_owners(ours, _threshold(account), self._address(sender), people)

    def fund(self, address: str) -> None:
        """Send coin for gas, for instance to the guardian."""
        self.node.give(address, PURSE_WEI)

    def raw_call(self, move: SigningRequest) -> dict[str, str]:
        """Return what is really signed when a move asks for it, as `raw_call` of a control call. EvmError."""
        safe = self.made[move.signs.safe]
        return {"to": safe.address, "value": "0", "data": "0x" + self._data(move).hex()}

    def refusal(self, move: SigningRequest) -> bytes:
        """Return the selector of the error with which a Safe refuses a move now, empty when it does not."""
        return self.made[move.signs.safe].refusal(self._address(move.account), self._data(move))

    def usurped(self, account: str) -> bool:
        """Say whether a Safe runs the code of one of the attackers' contracts."""
        known = addresses.of_destinations(self.scenario)
        usurpers = {_plain(known[d.id]) for d in self.scenario.destinations if d.usurper}
        return self.made[account].master_copy() in usurpers

    def wallet(self, person: str) -> Wallet:
        """Return a person's own wallet."""
        return Wallet(self.scenario.name, person)

    def _data(self, move: SigningRequest) -> bytes:
        target = _plain(addresses.of_destinations(self.scenario)[move.signs.target])
        signers = [self.wallet(one) for one in move.signs.signers]
        return self.made[move.signs.safe].signed(usurping(target), self._address(move.account), signers)

    def _first(self, account: ScenarioAccount) -> list[str]:
        ours = {a.id for a in self.scenario.accounts if a.holder == "vault key"}
        return [owner for owner in _owners(account) if owner not in ours]

    def _is_person(self, owner: str) -> bool:
        return any(person.id == owner for person in self.scenario.people)

    def _address(self, owner: str) -> str:
        if self._is_person(owner):
            return self.wallet(owner).address
        return _plain(addresses.of_accounts(self.scenario, {})[owner])


def _owners(account: ScenarioAccount) -> list[str]:
    return [] if account.safe is None else account.safe.owners


def _threshold(account: ScenarioAccount) -> int:
    return 0 if account.safe is None else account.safe.threshold


def _plain(caip10: str) -> str:
    return caip10.rsplit(":", 1)[1]
