"""An EVM chain in memory that takes real signed transactions, mines them when told, and lets a thief and a network act."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import rlp
from eth_account import Account

from service.domain.errors import RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.evm import Fee, transaction_hash
from service.ports.chain import FoundLogs, Mined

GWEI = 10**9
PRICE = 10 * GWEI
ETHER = 10**18


@dataclass
class Sent:
    """One transaction as decoded from its bytes."""

    sender: str
    nonce: int
    to: str
    value: int
    data: bytes
    gas: int
    max_fee: int
    hash: str

    @property
    def transfer(self) -> tuple[str, int]:
        """Recipient and amount of an ERC-20 transfer."""
        return "0x" + self.data[16:36].hex(), int.from_bytes(self.data[36:68], "big")


def decode(raw: bytes) -> Sent:
    fields = rlp.decode(raw[1:])
    numbers = [int.from_bytes(f, "big") for f in fields[:5]]
    return Sent(
        sender=str(Account.recover_transaction(raw)).lower(),
        nonce=numbers[1],
        to="0x" + fields[5].hex(),
        value=int.from_bytes(fields[6], "big"),
        data=fields[7],
        gas=numbers[4],
        max_fee=numbers[3],
        hash=transaction_hash(raw),
    )


@dataclass
class MemoryChain:
    """Implements `ContractChain`. `mines` False leaves transactions pending; `lose` loses answers after the effect."""

    coins: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    tokens: dict[tuple[str, str], int] = field(default_factory=lambda: defaultdict(int))
    nonces: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    receipts: dict[str, Mined] = field(default_factory=dict)
    pool: dict[tuple[str, int], Sent] = field(default_factory=dict)
    executed: list[Sent] = field(default_factory=list)
    mines: bool = True
    lose: int = 0
    deaf: int = 0
    broken_tokens: set[str] = field(default_factory=set)
    hungry: dict[str, int] = field(default_factory=dict)
    """Gas that a call of an address really uses, where it is not the usual."""
    least: int = 0
    """The chain refuses a transaction with less gas, whatever it does."""
    beside: int = 0
    """Wei that each transaction costs beside its gas, as on chains that pay for another one's room."""
    rushed: int = 0
    """So many times somebody else uses the nonce just before we send."""

    def final(self) -> "MemoryChain":
        return self

    def balance(self, address: str) -> int:
        return self.coins[address.lower()]

    def token_balance(self, token: str, owner: str) -> int:
        if token in self.broken_tokens:
            raise UnavailableError("no contract there")
        return self.tokens[token, owner.lower()]

    def mined_nonce(self, address: str) -> int:
        return self.nonces[address.lower()]

    def next_nonce(self, address: str) -> int:
        pending = [n for sender, n in self.pool if sender == address.lower()]
        return max([*[n + 1 for n in pending], self.nonces[address.lower()]])

    def fee(self) -> Fee:
        return Fee(2 * PRICE + GWEI, GWEI)

    def knows(self, transaction_hash: str) -> bool:
        return transaction_hash in self.receipts or any(t.hash == transaction_hash for t in self.pool.values())

    def mined(self, transaction_hash: str) -> Mined | None:
        return self.receipts.get(transaction_hash)

    def send(self, raw: bytes) -> str:
        sent = decode(raw)
        if self.deaf:
            self.deaf -= 1
            raise UnknownOutcomeError("the answer was lost")
        if self.rushed:
            self.rushed -= 1
            self.nonces[sent.sender] += 1
        if self.knows(sent.hash):
            return sent.hash
        if sent.nonce < self.nonces[sent.sender]:
            raise RefusedByOtherSideError("nonce too low")
        if sent.gas < self.least:
            raise RefusedByOtherSideError("intrinsic gas too low")
        if sent.value + sent.gas * sent.max_fee + self.beside > self.coins[sent.sender]:
            raise RefusedByOtherSideError("insufficient funds")
        other = self.pool.get((sent.sender, sent.nonce))
        if other is not None and sent.max_fee < other.max_fee * 11 // 10:
            raise RefusedByOtherSideError("replacement transaction underpriced")
        self.pool[sent.sender, sent.nonce] = sent
        if self.mines:
            self.mine()
        if self.lose:
            self.lose -= 1
            raise UnknownOutcomeError("the answer was lost")
        return sent.hash

    def call(self, to: str, data: bytes) -> bytes:
        raise UnavailableError("no contract answers here: a test that needs one runs on anvil")

    def code(self, address: str) -> bytes:
        return b""

    def storage(self, address: str, slot: bytes) -> bytes:
        return bytes(32)

    def estimate(self, sender: str, to: str | None, data: bytes, value: int = 0) -> int:
        return self.gas_of(to or "", data)

    def gas_of(self, to: str, data: bytes) -> int:
        """What a call really uses."""
        return self.hungry.get(to.lower(), 65_000 if data else 21_000)

    def logs(self, contracts: Sequence[str], topics: Sequence[Sequence[bytes]], until: float) -> FoundLogs:
        return FoundLogs(())

    def mine(self) -> None:
        for key in sorted(self.pool):
            sent = self.pool.pop(key)
            self.nonces[sent.sender] += 1
            used = min(self.gas_of(sent.to, sent.data), sent.gas)
            self.coins[sent.sender] -= used * PRICE + self.beside
            succeeded = used == self.gas_of(sent.to, sent.data) and self._apply(sent)
            self.receipts[sent.hash] = Mined(sent.hash, succeeded, len(self.receipts), used)
            self.executed.append(sent)

    def _apply(self, sent: Sent) -> bool:
        if sent.data:
            to, amount = sent.transfer
            if self.tokens[sent.to, sent.sender] < amount:
                return False
            self.tokens[sent.to, sent.sender] -= amount
            self.tokens[sent.to, to] += amount
        self.coins[sent.sender] -= sent.value
        self.coins[sent.to] += sent.value
        return True
