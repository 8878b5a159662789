"""Unsigned and signed EVM transactions from bytes: legacy (EIP-155), EIP-2930 and EIP-1559 in RLP.

Rules: bytes that are not exactly one canonical transaction of a known type are refused, never half-read; integers have
no leading zero (yellow paper, appendix B); a 20-byte `to` or none (contract creation). `digest` is what the key signs.
"""

from dataclasses import dataclass
from typing import Final

import rlp
from eth_hash.auto import keccak
from rlp.exceptions import RLPException

from service.domain.errors import InputError

MAX_RAW_BYTES: Final = 128 * 1024
_ADDRESS_BYTES: Final = 20
_MAX_WORD_BYTES: Final = 32
_LEGACY: Final = 0
_TYPE_2930: Final = 1
_TYPE_1559: Final = 2
_FIRST_LIST_BYTE: Final = 0xC0
_EIP155_V: Final = 35
_STRING: Final = 0x80
_SHORT: Final = 55
_MAX_DEPTH: Final = 4
"""Transaction, access list, entry, keys."""
_MAX_ITEMS: Final = 10_000

_SIGNATURE_FIELDS: Final = 3
_FIELDS: Final = {
    # type: (unsigned fields, indexes of chain id, nonce, to, value, data)
    _TYPE_2930: (8, (0, 1, 4, 5, 6)),
    _TYPE_1559: (9, (0, 1, 5, 6, 7)),
}


@dataclass(frozen=True, slots=True)
class EvmTransaction:
    """What an EVM transaction does. `to` is lower-case 0x hex, None for a contract creation; `value` is in wei."""

    chain_id: int | None
    """None for a legacy transaction without EIP-155."""
    nonce: int
    to: str | None
    value: int
    data: bytes
    digest: bytes
    """keccak-256 of the bytes as given: of unsigned bytes, what the key signs."""

    @property
    def chain(self) -> str | None:
        """CAIP-2 id of the chain."""
        return None if self.chain_id is None else f"eip155:{self.chain_id}"


def decode_transaction(raw: bytes) -> EvmTransaction:
    """Decode one transaction. Raises InputError (field `raw_transaction`) when the bytes are anything else."""
    if not 0 < len(raw) <= MAX_RAW_BYTES:
        raise _bad(f"a raw transaction has 1 to {MAX_RAW_BYTES} bytes")
    kind = _LEGACY if raw[0] >= _FIRST_LIST_BYTE else raw[0]
    _check_shape(raw if kind == _LEGACY else raw[1:])
    try:
        fields = rlp.decode(raw if kind == _LEGACY else raw[1:])
    except (RLPException, RecursionError) as error:
        raise _bad("the bytes are not RLP") from error
    if not isinstance(fields, (list, tuple)):
        raise _bad("the bytes are not an RLP list")
    if kind == _LEGACY:
        return _legacy(list(fields), raw)
    return _typed(kind, list(fields), raw)


def from_hex(text: str, *, field: str, max_bytes: int = MAX_RAW_BYTES) -> bytes:
    """Return the bytes of hex digits with or without 0x. Raises InputError."""
    digits = text[2:] if text[:2] in {"0x", "0X"} else text
    if len(digits) > 2 * max_bytes:
        raise InputError(f"{field} has at most {max_bytes} bytes", field=field)
    if not digits.isascii() or (not digits.isalnum() and digits):
        raise InputError(f"{field} must be hex digits", field=field)
    try:
        return bytes.fromhex(digits)
    except ValueError as error:
        raise InputError(f"{field} must be hex digits", field=field) from error


def _check_shape(raw: bytes) -> None:
    """Refuse what no transaction is before anything is built of it: nested deeper than an access list, or all items."""
    ends: list[int] = []
    position = items = 0
    while position < len(raw):
        while ends and position >= ends[-1]:
            ends.pop()
        items += 1
        first = raw[position]
        size = 0 if first < _STRING else first & 0x3F if first & 0x3F <= _SHORT else -1
        head = 1
        if size < 0:
            width = (first & 0x3F) - _SHORT
            head, size = 1 + width, int.from_bytes(raw[position + 1 : position + 1 + width], "big")
        position += head
        if first >= _FIRST_LIST_BYTE:
            ends.append(position + size)
        else:
            position += size
        if len(ends) > _MAX_DEPTH or items > _MAX_ITEMS:
            raise _bad(f"more than {_MAX_ITEMS} items, or lists nested deeper than {_MAX_DEPTH}")


def _typed(kind: int, fields: list[object], raw: bytes) -> EvmTransaction:
    if kind not in _FIELDS:
        raise _bad(f"transaction type {kind} is not known (known: legacy, 1, 2)")
    count, (chain, nonce, to, value, data) = _FIELDS[kind]
    if len(fields) not in {count, count + _SIGNATURE_FIELDS}:
        raise _bad(f"a type {kind} transaction has {count} fields, {count + _SIGNATURE_FIELDS} when signed")
    return EvmTransaction(
        _number(fields[chain], "chain_id"),
        _number(fields[nonce], "nonce"),
        _address(fields[to]),
        _number(fields[value], "value"),
        _bytes(fields[data], "data"),
        keccak(raw),
    )


def _legacy(fields: list[object], raw: bytes) -> EvmTransaction:
    if len(fields) not in {6, 9}:
        raise _bad("a legacy transaction has 6 or 9 fields")
    chain_id: int | None = None
    if len(fields) == 9:  # noqa: PLR2004  EIP-155: v is the chain id while r and s are empty
        v, r, s = (_number(fields[i], name) for i, name in ((6, "v"), (7, "r"), (8, "s")))
        if r == s == 0:
            chain_id = v
        elif v >= _EIP155_V:
            chain_id = (v - _EIP155_V) // 2
    return EvmTransaction(
        chain_id,
        _number(fields[0], "nonce"),
        _address(fields[3]),
        _number(fields[4], "value"),
        _bytes(fields[5], "data"),
        keccak(raw),
    )


def _number(value: object, name: str) -> int:
    raw = _bytes(value, name)
    if len(raw) > _MAX_WORD_BYTES or raw[:1] == b"\0":
        raise _bad(f"{name} is not a canonical integer of at most 32 bytes")
    return int.from_bytes(raw, "big")


def _address(value: object) -> str | None:
    raw = _bytes(value, "to")
    if not raw:
        return None
    if len(raw) != _ADDRESS_BYTES:
        raise _bad("`to` is not a 20-byte address")
    return "0x" + raw.hex()


def _bytes(value: object, name: str) -> bytes:
    if not isinstance(value, bytes):
        raise _bad(f"{name} is a list where bytes belong")
    return value


def _bad(problem: str) -> InputError:
    return InputError(f"raw_transaction: {problem}", field="raw_transaction")
