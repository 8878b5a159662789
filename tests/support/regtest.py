"""A regtest chain judged by Bitcoin Core's own consensus code (PyPI py-bitcoinkernel, imported as pbk), mined in Python.

What this file decides is only what stands in a block; whether the block is valid is the kernel's answer. There is no pool:
`accepts` says what a node would answer to a transaction, by script flags of relay policy that the kernel knows.
"""

import hashlib
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from embit.script import Script, Witness
from embit.transaction import Transaction, TransactionInput, TransactionOutput

try:
    import pbk
    from pbk.script import PrecomputedTransactionData
except ImportError as missing:
    raise ImportError(
        "Bitcoin's consensus code is missing: pip install -e '.[dev]' (PyPI py-bitcoinkernel)"
    ) from missing

COIN: Final = 100_000_000
ANYONE: Final = b"\x51"
"""OP_TRUE: whoever mines in a test spends with an empty input."""
MATURITY: Final = 100
_SUBSIDY: Final = 50 * COIN
_HALVING: Final = 150
_GENESIS_TIME: Final = 1_600_000_000


def sha256d(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def txid_of(raw: bytes) -> str:
    return str(Transaction.parse(raw).txid().hex())


@dataclass
class Regtest:
    """One chain in a folder."""

    folder: Path
    included: dict[str, tuple[bytes, int]] = field(default_factory=dict)
    """txid → (bytes, height) of everything in a block."""
    blocks: list[bytes] = field(default_factory=list)
    """Hashes by height, as people write them."""
    spent: dict[tuple[str, int], str] = field(default_factory=dict)
    """Outpoint → the transaction in a block that spends it."""
    funds: list[tuple[str, int]] = field(default_factory=list)
    """Coinbases that `pay` has not used yet: (txid, amount)."""

    def __post_init__(self) -> None:
        self._kernel: Any = pbk.load_chainman(self.folder, pbk.ChainType.REGTEST)
        self.blocks = [bytes(self._tip().block_hash)[::-1]]

    @property
    def height(self) -> int:
        return int(self._kernel.get_active_chain().height)

    def mine(self, *transactions: bytes, to: bytes = ANYONE) -> bool:
        """Offer one block; say whether the kernel took it."""
        before = self.height
        raw, coinbase, name = self._block(list(transactions), to)
        try:
            self._kernel.process_block(pbk.Block(raw))
        except pbk.ProcessBlockException:
            return False
        if self.height != before + 1:
            return False
        self.blocks.append(name)
        for one in (coinbase, *transactions):
            self._include(one)
        if to == ANYONE:
            self.funds.append((txid_of(coinbase), self._subsidy(before + 1)))
        return True

    def grow(self, blocks: int) -> None:
        for _ in range(blocks):
            assert self.mine()

    def pay(self, *outputs: tuple[bytes, int]) -> bytes:
        """Return a transaction, not mined, that pays (script, satoshis) from a ripe coinbase."""
        name, amount = next((n, a) for n, a in self.funds if self.included[n][1] <= self.height - MATURITY)
        self.funds.remove((name, amount))
        rest = amount - sum(value for _, value in outputs) - 10_000
        made = [TransactionOutput(value, Script(script)) for script, value in (*outputs, (ANYONE, rest))]
        return bytes(Transaction(2, [TransactionInput(bytes.fromhex(name), 0)], made).serialize())

    def output(self, txid: str, vout: int) -> TransactionOutput:
        return Transaction.parse(self.included[txid][0]).vout[vout]

    def scripts_hold(self, raw: bytes, outputs: list[TransactionOutput]) -> bool:
        """Say whether every input's script and witness hold against the outputs that it spends."""
        transaction = pbk.Transaction(raw)
        spent = [pbk.TransactionOutput(pbk.ScriptPubkey(bytes(o.script_pubkey.data)), o.value) for o in outputs]
        known = PrecomputedTransactionData(transaction, spent)
        try:
            return all(
                pbk.ScriptPubkey(bytes(o.script_pubkey.data)).verify(
                    o.value, transaction, known, number, pbk.ScriptVerificationFlags.ALL
                )
                for number, o in enumerate(outputs)
            )
        except pbk.ScriptVerifyException:
            return False

    def _include(self, raw: bytes) -> None:
        parsed = Transaction.parse(raw)
        name = parsed.txid().hex()
        self.included[name] = (raw, self.height)
        for one in parsed.vin:
            self.spent[one.txid.hex(), one.vout] = name

    def _tip(self) -> Any:
        chain = self._kernel.get_active_chain()
        return chain.block_tree_entries[chain.height]

    def _subsidy(self, height: int) -> int:
        return _SUBSIDY >> (height // _HALVING)

    def _block(self, transactions: list[bytes], to: bytes) -> tuple[bytes, bytes, bytes]:
        height = self.height + 1
        coinbase = _coinbase(height, self._subsidy(height), to, transactions)
        root = _merkle([coinbase.hash(), *(Transaction.parse(t).hash() for t in transactions)])
        previous = bytes(self._tip().block_hash)
        for nonce in range(10_000):
            numbers = struct.pack("<III", _GENESIS_TIME + height * 600, 0x207FFFFF, nonce)
            header = struct.pack("<i", 0x20000000) + previous + root + numbers
            if int.from_bytes(sha256d(header), "little") <= 0x7FFFFF << 232:
                break
        count = len(transactions) + 1
        counted = bytes([count]) if count < 0xFD else b"\xfd" + count.to_bytes(2, "little")
        raw = header + counted + coinbase.serialize() + b"".join(transactions)
        return raw, bytes(coinbase.serialize()), sha256d(header)[::-1]


def _coinbase(height: int, subsidy: int, to: bytes, transactions: list[bytes]) -> Transaction:
    number = height.to_bytes((height.bit_length() + 8) // 8, "little")
    text = bytes([0x50 + height, 0]) if height <= 16 else bytes([len(number)]) + number
    commitment = sha256d(_merkle([bytes(32), *(sha256d(t) for t in transactions)]) + bytes(32))
    outputs = [
        TransactionOutput(subsidy, Script(to)),
        TransactionOutput(0, Script(b"\x6a\x24\xaa\x21\xa9\xed" + commitment)),
    ]
    made = Transaction(2, [TransactionInput(bytes(32), 0xFFFFFFFF, Script(text))], outputs)
    made.vin[0].witness = Witness([bytes(32)])
    return made


def _merkle(hashes: list[bytes]) -> bytes:
    while len(hashes) > 1:
        if len(hashes) % 2:
            hashes = [*hashes, hashes[-1]]
        hashes = [sha256d(hashes[i] + hashes[i + 1]) for i in range(0, len(hashes), 2)]
    return hashes[0]
