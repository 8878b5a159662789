"""The life of a transaction on the emulated platform: from order to final state.

Rules: what is signed is what the co-signer showed, byte for byte; cancellation wins until broadcast; a frozen
workspace lets nothing new in and blocks everything unsigned; one-time addresses are refused while forbidden; a
transaction whose nonce or funds a thief took first fails. Movements that the platform did not make itself are
observed on chain and told as transactions, as for its own addresses.
"""

import asyncio
import uuid
from dataclasses import dataclass

from drills.emulator import evm
from drills.emulator.chain import GAS_CALL, GAS_NATIVE, Pending
from drills.emulator.clock import now_ms
from drills.emulator.cosigner import Cosigner, Verdict
from drills.emulator.errors import FieldError, NotFoundError, PolicyError, RpcError, StateError
from drills.emulator.events import Events
from drills.emulator.evm import EvmTransaction
from drills.emulator.records import FINAL, UNSIGNED, Account, EvmCall, Movement, Peer, Transaction, TxStatus
from drills.emulator.world import World

POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Order:
    """What a user asks for. `call` overrides what will be signed: then asset, amount and peer are only what is shown."""

    account_id: str
    asset_id: str
    amount: int
    peer: Peer
    created_by: str
    operation: str = "TRANSFER"
    external_id: str = ""
    note: str = ""
    call: EvmCall | None = None


class Custody:
    """Takes orders and carries them out in the background."""

    def __init__(self, world: World, events: Events, cosigner: Cosigner | None) -> None:
        self._world = world
        self._events = events
        self.cosigner = cosigner
        self._allocated: dict[str, set[int]] = {}
        self._pending: dict[str, Pending] = {}
        self._stopped: dict[str, asyncio.Event] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        world.chain.on_movement = self.observe

    def find(self, transaction_id: str) -> Transaction:
        """Return a transaction; NotFoundError."""
        found = self._world.transactions.get(transaction_id)
        if found is None:
            raise NotFoundError(f"transaction {transaction_id!r} does not exist")
        return found

    def peer(self, kind: str, reference: str) -> Peer:
        """Return the destination that a wallet id, vault account id or 0x address names; FieldError, NotFoundError."""
        world = self._world
        if kind == "VAULT_ACCOUNT":
            account = world.ledger.account(reference)
            return Peer(kind, account.id, account.name, "", account.addresses[0])
        if kind == "EXTERNAL_WALLET":
            wallet = world.wallets.get(reference)
            if wallet is None or wallet.address is None or wallet.status != "APPROVED":
                raise NotFoundError(f"external wallet {reference!r} does not exist or has no approved address")
            return Peer(kind, wallet.id, wallet.name, "External", wallet.address)
        if kind == "INTERNAL_WALLET":
            own = world.internal_wallets.get(reference)
            approved = [] if own is None else [a for a in own.assets.values() if a.status == "APPROVED"]
            if own is None or not approved:
                raise NotFoundError(f"internal wallet {reference!r} does not exist or has no approved address")
            return Peer(kind, own.id, own.name, "Internal", approved[0].address)
        if kind == "ONE_TIME_ADDRESS":
            return Peer(kind, "", "N/A", "", evm.to_caip10(reference, world.chain.chain_id))
        raise FieldError(
            f"destination.type {kind!r} is not emulated; use VAULT_ACCOUNT, INTERNAL_WALLET, EXTERNAL_WALLET or "
            "ONE_TIME_ADDRESS"
        )

    def submit(self, order: Order) -> Transaction:
        """Accept an order and start carrying it out; EmulatorError when it is refused."""
        account = self._check(order)
        asset = self._world.ledger.asset(order.asset_id)
        call = order.call or evm.transfer_call(asset.contract, evm.from_caip10(order.peer.address), order.amount)
        harm = self._world.chain.harmful_target(call)
        if harm is not None:
            self._world.figures.note_harm(f"request to sign a transaction for {harm}")
        now, tx_id = now_ms(), str(uuid.uuid4())
        one_time = "ONE_TIME" if order.peer.type == "ONE_TIME_ADDRESS" else "WHITELISTED"
        tx = Transaction(
            id=tx_id,
            request_id=tx_id,
            operation=order.operation,
            asset_id=order.asset_id,
            amount=order.amount,
            account_id=account.id,
            source_address=account.addresses[0],
            peer=order.peer,
            address_type=one_time,
            created_by=order.created_by,
            created_at_ms=now,
            updated_at_ms=now,
            call=call,
            external_id=order.external_id,
            note=order.note,
        )
        if order.call is None:
            self._world.ledger.reserve(tx.id, account.id, order.asset_id, order.amount)
        self._world.transactions[tx.id] = tx
        self._stopped[tx.id] = asyncio.Event()
        self._events.created(tx)
        self._start(tx, account)
        return tx

    def _check(self, order: Order) -> Account:
        world = self._world
        if world.frozen:
            raise PolicyError("the workspace is frozen; only the platform's support can lift it")
        if order.peer.type == "ONE_TIME_ADDRESS" and not world.ota_enabled:
            raise PolicyError("one-time addresses are forbidden in this workspace")
        if order.peer.address in world.locked_destinations:
            raise PolicyError("the destination is locked")
        if order.external_id and any(t.external_id == order.external_id for t in world.transactions.values()):
            raise FieldError("externalTxId: a transaction with this id already exists")
        if order.amount <= 0 and order.call is None:
            raise FieldError("amount: give more than zero")
        return world.ledger.account(order.account_id)

    def _start(self, tx: Transaction, account: Account) -> None:
        self.run_in_background(asyncio.get_running_loop().create_task(self._run(tx, account)))

    def run_in_background(self, task: "asyncio.Task[None]") -> None:
        """Keep a task until it ends, and stop it with the rest at the end."""
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _set(self, tx: Transaction, status: TxStatus, sub_status: str = "") -> None:
        if tx.status is status and tx.sub_status == sub_status:
            return
        tx.status, tx.sub_status, tx.updated_at_ms = status, sub_status, max(now_ms(), tx.updated_at_ms + 1)
        if status in FINAL:
            self._stopped.setdefault(tx.id, asyncio.Event()).set()
            self._world.ledger.release(tx.id)
            self._allocated.get(tx.source_address, set()).discard(-1 if tx.nonce is None else tx.nonce)
        self._events.updated(tx)

    async def _run(self, tx: Transaction, account: Account) -> None:
        while account.held and tx.status in UNSIGNED:
            self._set(tx, TxStatus.PENDING_AUTHORIZATION)
            await asyncio.sleep(POLL_S)
        if tx.status not in UNSIGNED:
            return
        self._set(tx, TxStatus.QUEUED)
        self._set(tx, TxStatus.PENDING_SIGNATURE)
        unsigned = self._unsigned(tx)
        verdict = Verdict("APPROVE")
        if self.cosigner is not None and account.platform == "fireblocks":
            verdict = await self.cosigner.ask_transaction(tx, unsigned, self._stopped[tx.id])
        if tx.status not in UNSIGNED or verdict.outcome == "STOPPED":
            return
        if verdict.outcome == "REJECT":
            tx.rejected_by = "co-signer callback"
            self._set(tx, TxStatus.REJECTED, "REJECTED_BY_USER")
        elif verdict.outcome == "FAILED":
            self._set(tx, TxStatus.FAILED, verdict.detail)
        else:
            await self._broadcast(tx, unsigned)

    def _unsigned(self, tx: Transaction) -> EvmTransaction:
        chain, address = self._world.chain, evm.from_caip10(tx.source_address)
        taken = self._allocated.setdefault(tx.source_address, set())
        nonce = chain.nonce(address, pending=True)
        while nonce in taken:
            nonce += 1
        taken.add(nonce)
        fees = chain.fees(tx.call)
        tx.nonce, tx.fee = nonce, fees.gas * fees.max_fee
        return EvmTransaction(chain.chain_id, nonce, fees, tx.call)

    async def _broadcast(self, tx: Transaction, unsigned: EvmTransaction) -> None:
        tx.signed_by = ["co-signer"]
        self._world.ledger.release(tx.id)
        try:
            pending = self._world.chain.submit_platform(unsigned, evm.from_caip10(tx.source_address))
        except RpcError as refused:
            short = "insufficient funds" in str(refused)
            self._set(tx, TxStatus.FAILED, "INSUFFICIENT_FUNDS_FOR_FEE" if short else "ERROR_BROADCASTING")
            return
        self._pending[tx.id] = pending
        tx.tx_hash = pending.tx_hash
        self._set(tx, TxStatus.BROADCASTING)
        receipt = await pending.outcome
        del self._pending[tx.id]
        if receipt is None:
            self._set(tx, TxStatus.FAILED, "DROPPED_BY_BLOCKCHAIN")
            return
        tx.fee = receipt.gas_used * receipt.gas_price
        if not receipt.ok:
            self._set(tx, TxStatus.FAILED, "SMART_CONTRACT_EXECUTION_FAILED")
            return
        await self._confirm(tx)

    async def _confirm(self, tx: Transaction) -> None:
        self._set(tx, TxStatus.CONFIRMING)
        await asyncio.sleep(self._world.seed.timings.confirm_s)
        self._set(tx, TxStatus.COMPLETED, "CONFIRMED")

    def cancel(self, transaction_id: str) -> Transaction:
        """Cancel what is not broadcast yet; cancelling twice is harmless. NotFoundError, StateError."""
        tx = self.find(transaction_id)
        if tx.status is TxStatus.CANCELLED:
            return tx
        if tx.status not in UNSIGNED:
            raise StateError(f"transaction is {tx.status.value} and can no longer be cancelled")
        self._set(tx, TxStatus.CANCELLED, "CANCELLED_BY_USER_REQUEST")
        return tx

    def drop(self, transaction_id: str) -> Transaction:
        """Replace a transaction that is stuck on chain by an empty one of the same nonce. NotFoundError, StateError."""
        tx = self.find(transaction_id)
        if tx.id not in self._pending:
            raise StateError(f"transaction is {tx.status.value}; only one that is pending on chain can be dropped")
        tx.replaced_tx_hash = tx.tx_hash
        self._world.chain.drop(tx.tx_hash)
        return tx

    def freeze(self) -> None:
        """Freeze the workspace: nothing new, and everything unsigned is blocked."""
        self._world.frozen = True
        for tx in self._world.transactions.values():
            if tx.status in UNSIGNED:
                self._set(tx, TxStatus.BLOCKED, "BLOCKED_BY_POLICY")

    def block_destination(self, address: str) -> None:
        """Lock a destination (CAIP-10) and block everything unsigned that goes there."""
        self._world.locked_destinations.add(address)
        for tx in self._world.transactions.values():
            if tx.status in UNSIGNED and tx.peer.address == address:
                self._set(tx, TxStatus.BLOCKED, "BLOCKED_BY_POLICY")

    def observe(self, movement: Movement) -> None:
        """Tell a movement on chain that the platform did not make, when it touches one of its accounts."""
        world = self._world
        sender, recipient = world.ledger.owner(movement.sender), world.ledger.owner(movement.recipient)
        if sender is None and recipient is None:
            return
        if recipient is not None:
            peer = Peer("VAULT_ACCOUNT", recipient.id, recipient.name, "", movement.recipient)
        else:
            peer = Peer("ONE_TIME_ADDRESS", "", "N/A", "", movement.recipient)
        tx_id = str(uuid.uuid4())
        asset = world.ledger.asset(movement.asset_id)
        tx = Transaction(
            id=tx_id,
            request_id=tx_id,
            operation="TRANSFER",
            asset_id=asset.id,
            amount=movement.amount,
            account_id=None if sender is None else sender.id,
            source_address=movement.sender,
            peer=peer,
            address_type="ONE_TIME" if recipient is None else "",
            created_by="",
            created_at_ms=movement.at_ms,
            updated_at_ms=movement.at_ms,
            call=EvmCall(evm.from_caip10(movement.recipient), 0),
            status=TxStatus.CONFIRMING,
            tx_hash=movement.tx_hash,
            observed_only=True,
        )
        gas = GAS_NATIVE if asset.contract is None else GAS_CALL
        tx.fee = gas * world.chain.base_fee
        world.transactions[tx.id] = tx
        self._events.created(tx)
        self.run_in_background(asyncio.get_running_loop().create_task(self._complete(tx)))

    async def _complete(self, tx: Transaction) -> None:
        await asyncio.sleep(self._world.seed.timings.confirm_s)
        self._set(tx, TxStatus.COMPLETED, "CONFIRMED")

    async def close(self) -> None:
        """Stop carrying out orders."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
