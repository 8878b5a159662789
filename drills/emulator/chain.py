"""The emulated EVM chain: nonces, a pool of pending transactions, blocks, receipts, and theft with stolen keys.

Rules (EIP-155, EIP-1559): wrong chain id, a used nonce and an uncovered maximum cost are refused before the pool; a
pending transaction is replaced by one of the same sender and nonce with both fees at least 10 % higher; the effective
fee is the base fee plus the priority fee, never above the maximum. A theft needs no signature of ours, takes the
sender's next nonce and thus invalidates whatever was prepared with that nonce. The platform may fill a nonce that it
left open when it gave a transaction up; it never leaves a gap in front of others. The thief brings the gas along.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass

from eth_hash.auto import keccak

from drills.emulator import evm
from drills.emulator.errors import EmulatorError, FieldError, FundsError, KeyNotStolenError, RpcError
from drills.emulator.evm import EvmTransaction, Fees
from drills.emulator.figures import Figures
from drills.emulator.ledger import Ledger
from drills.emulator.records import FEE_SINK, EvmCall, Movement

GAS_NATIVE = 21_000
GAS_CALL = 90_000
GWEI = 10**9
REPLACEMENT_PERCENT = 110


@dataclass(slots=True)
class Receipt:
    """What eth_getTransactionReceipt tells of a mined transaction; `ok` False: it reverted and moved only the fee."""

    tx_hash: str
    block: int
    sender: str
    transaction: EvmTransaction
    gas_used: int
    gas_price: int
    ok: bool


@dataclass(slots=True)
class Pending:
    """A transaction in the pool. `outcome` gives its receipt, or None when another took its nonce."""

    tx_hash: str
    sender: str
    transaction: EvmTransaction
    from_platform: bool
    outcome: "asyncio.Future[Receipt | None]"


class Chain:
    """One chain over a ledger. `on_movement` is called for every movement that did not come from the platform itself."""

    def __init__(self, ledger: Ledger, figures: Figures, chain_id: int = 1) -> None:
        self.ledger = ledger
        self.figures = figures
        self.chain_id = chain_id
        self.block = 18_000_000
        self.block_time_s = 0.0
        self.base_fee = 8 * GWEI
        self.priority_fee = GWEI
        self.native_asset_id = ""
        self.receipts: dict[str, Receipt] = {}
        self.pool: dict[tuple[str, int], Pending] = {}
        self.on_movement: Callable[[Movement], None] = lambda _movement: None
        self._used: dict[str, set[int]] = defaultdict(set)
        self._miner: asyncio.Task[None] | None = None

    def nonce(self, address: str, *, pending: bool = False) -> int:
        """The next nonce of a 0x address, over mined transactions or also those in the pool."""
        used = set(self._used[address])
        if pending:
            used |= {n for sender, n in self.pool if sender == address}
        return max(used, default=-1) + 1

    def fees(self, call: EvmCall) -> Fees:
        """Gas limit and fees that the platform would choose for a call."""
        gas = GAS_CALL if call.data else GAS_NATIVE
        return Fees(gas, 2 * self.base_fee + self.priority_fee, self.priority_fee)

    def submit_raw(self, raw: bytes) -> str:
        """Accept a signed transaction (eth_sendRawTransaction) and return its hash; RpcError."""
        transaction, sender = evm.decode_signed(raw)
        tx_hash = "0x" + keccak(raw).hex()
        if tx_hash in self.receipts or any(p.tx_hash == tx_hash for p in self.pool.values()):
            raise RpcError("already known")
        if transaction.nonce > self.nonce(sender, pending=True):
            raise RpcError(f"nonce too high: next is {self.nonce(sender, pending=True)}, got {transaction.nonce}")
        self._accept(Pending(tx_hash, sender, transaction, False, _future()))  # noqa: FBT003 - a record, not a switch
        return tx_hash

    def submit_platform(self, transaction: EvmTransaction, sender: str) -> Pending:
        """Put a transaction that the platform signed into the pool; RpcError."""
        tx_hash = "0x" + keccak(transaction.unsigned_bytes() + sender.encode()).hex()
        pending = Pending(tx_hash, sender, transaction, True, _future())  # noqa: FBT003 - a record, not a switch
        self._accept(pending)
        return pending

    def _accept(self, pending: Pending) -> None:
        transaction, sender = pending.transaction, pending.sender
        if transaction.chain_id != self.chain_id:
            raise RpcError(f"invalid chain id for signer: have {transaction.chain_id} want {self.chain_id}")
        if transaction.nonce in self._used[sender]:
            raise RpcError(f"nonce too low: next nonce {self.nonce(sender)}, tx nonce {transaction.nonce}")
        if transaction.fees.max_fee < self.base_fee:
            raise RpcError("max fee per gas less than block base fee")
        if transaction.fees.gas < (GAS_CALL if transaction.call.data else GAS_NATIVE):
            raise RpcError("intrinsic gas too low")
        cost = transaction.call.value + transaction.fees.gas * transaction.fees.max_fee
        if cost > self._native_balance(sender):
            raise RpcError("insufficient funds for gas * price + value")
        self._replace(pending)
        if self.block_time_s <= 0:
            self.mine()
        elif self._miner is None or self._miner.done():
            self._miner = asyncio.get_running_loop().create_task(self._mine_on_time())

    def _replace(self, pending: Pending) -> None:
        key = (pending.sender, pending.transaction.nonce)
        old = self.pool.get(key)
        if old is not None:
            ours, theirs = pending.transaction.fees, old.transaction.fees
            higher = ours.max_fee * 100 >= theirs.max_fee * REPLACEMENT_PERCENT
            if not higher or ours.priority_fee * 100 < theirs.priority_fee * REPLACEMENT_PERCENT:
                raise RpcError("replacement transaction underpriced: raise both fees by at least 10 %")
            _settle(old, None)
        self.pool[key] = pending

    def _native_balance(self, address: str) -> int:
        return self.ledger.balance(evm.to_caip10(address, self.chain_id), self.native_asset_id)

    async def _mine_on_time(self) -> None:
        while self.pool:
            await asyncio.sleep(self.block_time_s)
            self.mine()

    def mine(self) -> None:
        """Make one block of everything in the pool, in order of sender and nonce."""
        self.block += 1
        for key in sorted(self.pool):
            pending = self.pool.pop(key)
            self._used[pending.sender].add(pending.transaction.nonce)
            receipt = self._execute(pending)
            self.receipts[pending.tx_hash] = receipt
            _settle(pending, receipt)

    def _execute(self, pending: Pending) -> Receipt:
        transaction, sender = pending.transaction, evm.to_caip10(pending.sender, self.chain_id)
        gas_used = GAS_CALL if transaction.call.data else GAS_NATIVE
        price = min(transaction.fees.max_fee, self.base_fee + transaction.fees.priority_fee)
        fee = min(gas_used * price, self.ledger.balance(sender, self.native_asset_id))
        self.ledger.move(sender, FEE_SINK, self.native_asset_id, fee, pending.tx_hash)
        ok = self._apply(pending, sender)
        return Receipt(pending.tx_hash, self.block, pending.sender, transaction, gas_used, price, ok)

    def _apply(self, pending: Pending, sender: str) -> bool:
        call = pending.transaction.call
        moved = self.effect(call)
        movements = []
        try:
            if moved is not None:
                recipient, asset_id, amount = moved
                self._note_harm(recipient, f"on-chain transfer of {asset_id}")
                movements.append(self.ledger.move(sender, recipient, asset_id, amount, pending.tx_hash))
        except FundsError:
            return False
        if not pending.from_platform:
            for movement in movements:
                self.on_movement(movement)
        return True

    def effect(self, call: EvmCall) -> tuple[str, str, int] | None:
        """(recipient CAIP-10, asset id, base units) that a call moves from its sender, or None."""
        transfer = evm.read_erc20_transfer(call.data)
        if transfer is not None:
            asset_id = self._token(call.to)
            return None if asset_id is None else (evm.to_caip10(transfer[0], self.chain_id), asset_id, transfer[1])
        if call.value:
            return evm.to_caip10(call.to, self.chain_id), self.native_asset_id, call.value
        return None

    def _token(self, contract: str) -> str | None:
        wanted = contract.lower()
        return next((a.id for a in self.ledger.assets.values() if a.contract == wanted), None)

    def harmful_target(self, call: EvmCall) -> str | None:
        """The attacker's CAIP-10 address that a call would pay, or that a Safe would delegatecall into; else None."""
        inner = evm.read_exec_transaction(call.data)
        moved = self.effect(call)
        target = moved[0] if moved is not None else None
        if inner is not None:
            target = evm.to_caip10(inner.to, self.chain_id)
        found = self.ledger.destinations.get(target or "")
        return target if found is not None and found.kind == "attacker" else None

    def _note_harm(self, recipient: str, what: str) -> None:
        found = self.ledger.destinations.get(recipient)
        if found is not None and found.kind == "attacker":
            self.figures.note_harm(what)

    def refresh(self) -> bool:
        """Bring the ledger up to what the chain says; tells whether both agree. Here the ledger is the chain."""
        return True

    def steal(self, sender: str, recipient: str, asset_id: str, amount: int | None) -> Movement:
        """Move funds with a stolen key (CAIP-10 addresses; None: all that is there). KeyNotStolenError, FundsError."""
        owner = self.ledger.owner(sender)
        if owner is None or not owner.key_stolen:
            raise KeyNotStolenError(f"the attacker does not hold the key of {sender}")
        self.figures.note_harm(f"theft of {asset_id} from {owner.name}")
        held = self.ledger.balance(sender, asset_id)
        wanted = held if amount is None else amount
        if wanted <= 0 or wanted > held:
            raise FundsError(f"{sender} holds {held} base units of {asset_id}; the theft of {wanted} comes too late")
        movement = self.ledger.move(sender, recipient, asset_id, wanted)
        self._take_nonce(evm.from_caip10(sender), movement)
        self.on_movement(movement)
        return movement

    def _take_nonce(self, address: str, movement: Movement) -> None:
        self.block += 1
        nonce = self.nonce(address)
        self._used[address].add(nonce)
        beaten = self.pool.pop((address, nonce), None)
        if beaten is not None:
            _settle(beaten, None)
        contract = self.ledger.asset(movement.asset_id).contract
        call = evm.transfer_call(contract, evm.from_caip10(movement.recipient), movement.amount)
        transaction = EvmTransaction(self.chain_id, nonce, self.fees(call), call)
        self.receipts[movement.tx_hash] = Receipt(
            movement.tx_hash, self.block, address, transaction, transaction.fees.gas, self.base_fee, ok=True
        )

    def drop(self, tx_hash: str) -> str:
        """Take a pending platform transaction out of the pool by a same-nonce replacement; its hash. FieldError."""
        key = next((k for k, p in self.pool.items() if p.tx_hash == tx_hash), None)
        if key is None:
            raise FieldError("the transaction is not pending on chain, so there is nothing to replace")
        beaten = self.pool.pop(key)
        self._used[key[0]].add(key[1])
        _settle(beaten, None)
        return "0x" + keccak(b"replacement of " + tx_hash.encode()).hex()

    async def close(self) -> None:
        """Stop making blocks."""
        if self._miner is not None:
            self._miner.cancel()
            with contextlib.suppress(asyncio.CancelledError, EmulatorError):
                await self._miner


def _future() -> "asyncio.Future[Receipt | None]":
    return asyncio.get_running_loop().create_future()


def _settle(pending: Pending, receipt: Receipt | None) -> None:
    if not pending.outcome.done():
        pending.outcome.set_result(receipt)
