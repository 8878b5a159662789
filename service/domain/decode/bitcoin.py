"""Bitcoin transactions from bytes, as a PSBT holds them: legacy and witness serialization (BIP-144).

Rules: every read is bounded by the bytes that are there; a count is refused that they could not fill; CompactSize must be
the shortest form; nothing may follow. The id is double SHA-256 over the serialization without witnesses.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.bitcoin.network import MAX_SATS
from service.domain.errors import InputError

_MIN_INPUT: Final = 32 + 4 + 1 + 4
_MIN_OUTPUT: Final = 8 + 1
_HASH: Final = 32
_MAX_SCRIPT: Final = 10_000
_WIDTHS: Final = {0xFD: 2, 0xFE: 4, 0xFF: 8}
_LEAST: Final = {0xFD: 0xFD, 0xFE: 0x10000, 0xFF: 0x100000000}


@dataclass(frozen=True, slots=True)
class Input:
    """One coin that is spent; `txid` in the order of the bytes, not as people write it."""

    txid: bytes
    vout: int
    script_sig: bytes
    sequence: int


@dataclass(frozen=True, slots=True)
class Output:
    """One payment."""

    amount_sats: int
    script: bytes

    def serialized(self) -> bytes:
        """Return it as it stands in a transaction."""
        return self.amount_sats.to_bytes(8, "little") + _counted(self.script)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One transaction without its witnesses."""

    version: int
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    locktime: int
    txid: bytes
    """In the order of the bytes."""

    @classmethod
    def assembled(
        cls, version: int, spent: Sequence[tuple[bytes, int, int]], outputs: Sequence[Output], locktime: int
    ) -> "Transaction":
        """Return the unsigned transaction that spends (txid, vout, sequence)."""
        inputs = tuple(Input(txid, vout, b"", sequence) for txid, vout, sequence in spent)
        return cls(version, inputs, tuple(outputs), locktime, _id_of(version, inputs, outputs, locktime))


class Reader:
    """Reads bytes once, from front to back; raises InputError naming `field`."""

    def __init__(self, raw: bytes, field: str) -> None:
        self._raw = raw
        self._at = 0
        self._field = field

    @property
    def left(self) -> int:
        """Bytes not yet read."""
        return len(self._raw) - self._at

    def take(self, count: int) -> bytes:
        """Return the next bytes."""
        if count > self.left:
            raise bad(self._field, "ends in the middle")
        self._at += count
        return self._raw[self._at - count : self._at]

    def number(self, size: int) -> int:
        """Return a little-endian number."""
        return int.from_bytes(self.take(size), "little")

    def compact(self) -> int:
        """Return a CompactSize; only its shortest form is one."""
        first = self.number(1)
        width = _WIDTHS.get(first)
        if width is None:
            return first
        found = self.number(width)
        if found < _LEAST[first]:
            raise bad(self._field, "writes a number longer than it is")
        return found

    def count(self, least_bytes: int) -> int:
        """Return how many parts of at least so many bytes follow."""
        found = self.compact()
        if found * least_bytes > self.left:
            raise bad(self._field, "counts more than it holds")
        return found

    def whole_count(self) -> int:
        """Return the only number that there is."""
        found = self.compact()
        self.end()
        return found

    def counted(self) -> bytes:
        """Return bytes preceded by their number."""
        return self.take(self.compact())

    def output(self) -> Output:
        """Return one output."""
        amount = self.number(8)
        if amount > MAX_SATS:
            raise bad(self._field, "pays more than there is")
        script = self.counted()
        if len(script) > _MAX_SCRIPT:
            raise bad(self._field, f"has a script over {_MAX_SCRIPT} bytes")
        return Output(amount, script)

    def input(self) -> Input:
        """Return one input."""
        return Input(self.take(_HASH), self.number(4), self.counted(), self.number(4))

    def end(self) -> None:
        """Refuse whatever follows."""
        if self.left:
            raise bad(self._field, "has bytes after its end")


def read_transaction(raw: bytes, field: str, *, witness: bool) -> Transaction:
    """Return one transaction. `witness`: whether it may carry witnesses. Raises InputError naming `field`."""
    reader = Reader(raw, field)
    version = reader.number(4)
    marked = witness and reader.left > 1 and raw[4:6] == b"\x00\x01"
    if marked:
        reader.take(2)
    inputs = tuple(reader.input() for _ in range(reader.count(_MIN_INPUT)))
    outputs = tuple(reader.output() for _ in range(reader.count(_MIN_OUTPUT)))
    for _ in inputs if marked else ():
        for _ in range(reader.count(1)):
            reader.counted()
    locktime = reader.number(4)
    reader.end()
    if not inputs or not outputs:
        raise bad(field, "has no inputs or no outputs")
    return Transaction(version, inputs, outputs, locktime, _id_of(version, inputs, outputs, locktime))


def _id_of(version: int, inputs: Sequence[Input], outputs: Sequence[Output], locktime: int) -> bytes:
    parts = [version.to_bytes(4, "little"), _compact(len(inputs))]
    for one in inputs:
        parts += [
            one.txid,
            one.vout.to_bytes(4, "little"),
            _counted(one.script_sig),
            one.sequence.to_bytes(4, "little"),
        ]
    parts.append(_compact(len(outputs)))
    parts += [paid.serialized() for paid in outputs]
    parts.append(locktime.to_bytes(4, "little"))
    return double_sha256(b"".join(parts))


def double_sha256(data: bytes) -> bytes:
    """Return Bitcoin's hash of bytes, in the order in which it is signed."""
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def _counted(data: bytes) -> bytes:
    return _compact(len(data)) + data


def _compact(number: int) -> bytes:
    for first, width in ((0xFF, 8), (0xFE, 4), (0xFD, 2)):
        if number >= _LEAST[first]:
            return bytes([first]) + number.to_bytes(width, "little")
    return bytes([number])


def bad(field: str, problem: str) -> InputError:
    """Return the refusal of what stands in `field`."""
    return InputError(f"{field}: {problem}", field=field)
