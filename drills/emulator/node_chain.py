"""The platform's chain when it is a real node: contracts run, and balances are the node's own.

Rules: the platform and the thieves send as they would, the node decides; what anybody holds is read from the node after
each transaction and written into the ledger as movements, so that lost and saved follow from the chain's balances alone;
a balance that the ledger cannot explain is said, never smoothed over. A thief empties a Safe through the code that he made
it run, and fails where it runs its own. He brings the gas along: another address pays.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

from drills.emulator import evm
from drills.emulator.chain import GAS_NATIVE, Chain, Pending, Receipt
from drills.emulator.errors import FieldError, FundsError, KeyNotStolenError, RpcError
from drills.emulator.evm import EvmTransaction, Fees
from drills.emulator.figures import Figures
from drills.emulator.ledger import Ledger
from drills.emulator.records import FEE_SINK, Account, EvmCall, Movement
from drills.evm.errors import EvmError
from drills.evm.node import WORD, Node
from drills.evm.packages import artifact, bytecode
from drills.evm.safe import sweeping, token_slot

CONTRACTS = Path(__file__).parents[1] / "contracts"
TOKEN, USURPER = CONTRACTS / "DrillToken.json", CONTRACTS / "Usurper.json"
GAS_CONTRACT = 500_000
SUCCEEDED = "0x1"


class NodeChain(Chain):
    """One chain on a node; the ledger follows it."""

    def __init__(self, ledger: Ledger, figures: Figures, node: Node, native_asset_id: str) -> None:
        super().__init__(ledger, figures, int(node.ask("eth_chainId"), 16))
        self.native_asset_id = native_asset_id
        self._node = node
        self._courier = str(node.ask("eth_accounts")[1])

    @classmethod
    def begun(
        cls, ledger: Ledger, figures: Figures, node: Node, native_asset_id: str, usurpers: Sequence[str]
    ) -> "NodeChain":
        """Put the ledger's tokens and balances, and the attackers' contracts, on a node. EvmError."""
        chain = cls(ledger, figures, node, native_asset_id)
        for asset in ledger.assets.values():
            if asset.contract is not None:
                node.place(asset.contract, bytecode(artifact(TOKEN), deployed=True))
        for usurper in usurpers:
            node.place(usurper, bytecode(artifact(USURPER), deployed=True))
        for account in ledger.accounts.values():
            for address in account.addresses:
                chain._endow(address)
        return chain

    def _endow(self, address: str) -> None:
        plain = evm.from_caip10(address)
        for asset in self.ledger.assets.values():
            held = self.ledger.balance(address, asset.id)
            if asset.contract is None:
                self._node.give(plain, held)
            elif held:
                self._node.write(asset.contract, token_slot(plain), held.to_bytes(WORD, "big"))

    def nonce(self, address: str, *, pending: bool = False) -> int:  # noqa: ARG002 - blocks are made at once
        """See the base."""
        return self._node.nonce(address)

    def fees(self, call: EvmCall) -> Fees:
        """See the base."""
        gas = GAS_CONTRACT if call.data else GAS_NATIVE
        return Fees(gas, 2 * self.base_fee + self.priority_fee, self.priority_fee)

    def submit_raw(self, raw: bytes) -> str:
        """Refuse: who has a signed transaction sends it to the node itself."""
        del raw
        raise RpcError(f"this platform's chain is the node at {self._node.url}: send it there")

    def submit_platform(self, transaction: EvmTransaction, sender: str) -> Pending:
        """See the base; the receipt is there when it returns."""
        moved = self.effect(transaction.call)
        if moved is not None:
            self._note_harm(moved[0], f"on-chain transfer of {moved[1]}")
        receipt = self._sent(transaction, sender)
        pending = Pending(receipt.tx_hash, sender, transaction, True, _future())  # noqa: FBT003 - a record, not a switch
        self._follow(receipt.tx_hash)
        pending.outcome.set_result(receipt)
        return pending

    def _sent(self, transaction: EvmTransaction, sender: str) -> Receipt:
        call, fees = transaction.call, transaction.fees
        more = {"value": call.value, "gas": fees.gas, "nonce": transaction.nonce}
        more |= {"maxFeePerGas": fees.max_fee, "maxPriorityFeePerGas": fees.priority_fee}
        try:
            told = self._node.send(sender, call.to, call.data, **more)
        except EvmError as refused:
            raise RpcError(str(refused).lower()) from None
        receipt = Receipt(
            str(told["transactionHash"]),
            int(told["blockNumber"], 16),
            sender,
            transaction,
            int(told["gasUsed"], 16),
            int(told["effectiveGasPrice"], 16),
            told["status"] == SUCCEEDED,
        )
        self.receipts[receipt.tx_hash], self.block = receipt, receipt.block
        return receipt

    def steal(self, sender: str, recipient: str, asset_id: str, amount: int | None) -> Movement:
        """See the base; KeyNotStolenError also when the Safe does not run the thief's code."""
        owner = self.ledger.owner(sender)
        if owner is None:
            raise KeyNotStolenError(f"{sender} is no account's address")
        self.figures.note_harm(f"theft of {asset_id} from {owner.name}")
        held = self._held(sender, asset_id)
        wanted = held if amount is None else amount
        if wanted <= 0 or wanted > held:
            raise FundsError(f"{sender} holds {held} base units of {asset_id}; the theft of {wanted} comes too late")
        tx_hash = self._taken(owner, sender, (recipient, asset_id, wanted))
        movement = next((m for m in self._follow(tx_hash) if m.recipient == recipient), None)
        if movement is None:
            raise KeyNotStolenError(f"{sender} kept its {asset_id}: the attacker does not hold it")
        self.on_movement(movement)
        return movement

    def _taken(self, owner: Account, sender: str, theft: tuple[str, str, int]) -> str:
        """Send the theft and return its hash, whether or not the chain let it have an effect."""
        recipient, asset_id, amount = theft
        place, to = evm.from_caip10(sender), evm.from_caip10(recipient)
        contract = self.ledger.asset(asset_id).contract
        if self._node.ask("eth_getCode", place, "latest") != "0x":
            receipt = self._node.send(self._courier, place, sweeping(contract, to, amount))
        elif owner.key_stolen:
            call = evm.transfer_call(contract, to, amount)
            receipt = self._node.send(place, call.to, call.data, value=call.value)
        else:
            raise KeyNotStolenError(f"the attacker does not hold the key of {sender}")
        return str(receipt["transactionHash"])

    def drop(self, tx_hash: str) -> str:
        """Refuse: blocks are made at once, so nothing is ever pending. FieldError."""
        raise FieldError(f"{tx_hash} is not pending on chain, so there is nothing to replace")

    def mine(self) -> None:
        """Make one block."""
        self._node.ask("evm_mine")
        self.refresh()

    def refresh(self) -> bool:
        """See the base."""
        self._follow("")
        return not any(self._changed().values())

    def _known(self) -> list[str]:
        return [*(a for one in self.ledger.accounts.values() for a in one.addresses), *self.ledger.destinations]

    def _changed(self) -> dict[tuple[str, str], int]:
        """Return by how much the node's balance differs from the ledger's, by (address, asset id)."""
        places = [(address, asset) for asset in self.ledger.assets for address in self._known()]
        told = self._node.balances([(evm.from_caip10(a), self.ledger.asset(s).contract) for a, s in places])
        return {place: held - self.ledger.balance(*place) for place, held in zip(places, told, strict=True)}

    def _held(self, address: str, asset_id: str) -> int:
        contract, plain = self.ledger.asset(asset_id).contract, evm.from_caip10(address)
        return self._node.balance(plain) if contract is None else self._node.token_balance(contract, plain)

    def _follow(self, tx_hash: str) -> list[Movement]:
        """Write into the ledger what changed on the chain; what of the coin reached nobody known is the fee."""
        found: list[Movement] = []
        changed = self._changed()
        for asset_id in self.ledger.assets:
            gained = {address: n for (address, asset), n in changed.items() if asset == asset_id and n > 0}
            for giver, left in [
                (address, -n) for (address, asset), n in changed.items() if asset == asset_id and n < 0
            ]:
                found += self._given(giver, left, asset_id, (gained, tx_hash))
        return found

    def _given(self, giver: str, left: int, asset_id: str, to: tuple[dict[str, int], str]) -> list[Movement]:
        gained, tx_hash = to
        found = []
        for taker in list(gained):
            amount = min(left, gained[taker])
            if amount:
                found.append(self.ledger.move(giver, taker, asset_id, amount, tx_hash))
                gained[taker], left = gained[taker] - amount, left - amount
        if left and asset_id == self.native_asset_id:
            found.append(self.ledger.move(giver, FEE_SINK, asset_id, left, tx_hash))
        return found

    async def close(self) -> None:
        """Give the connection back."""
        self._node.close()


def _future() -> "asyncio.Future[Receipt | None]":
    return asyncio.get_running_loop().create_future()
