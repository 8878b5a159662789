"""EIP-712 typed data, as wallets sign it (`eth_signTypedData_v4`): read from JSON, hashed as the key signs it.

Rules: what is shown and not signed is refused (a field that its type does not have, a key that comes twice), and so is what
would be signed and is not shown (a missing field). Numbers are exact and within their type; a fraction is refused. Bounded:
64 KiB, 64 types of 64 fields, 16 levels, 4,096 values. Every refusal is an InputError (field `typed_data`).
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from eth_hash.auto import keccak

from service.domain.errors import InputError

MAX_BYTES: Final = 64 * 1024
_MAX_TYPES: Final = 64
_MAX_FIELDS: Final = 64
_MAX_DEPTH: Final = 16
_MAX_VALUES: Final = 4_096
_DOMAIN: Final = "EIP712Domain"
_DOMAIN_FIELDS: Final = (
    ("name", "string"),
    ("version", "string"),
    ("chainId", "uint256"),
    ("verifyingContract", "address"),
    ("salt", "bytes32"),
)
_NAME: Final = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]{0,127}", re.ASCII)
_ARRAY: Final = re.compile(r"(.*)\[([0-9]{0,4})\]", re.ASCII)
_INTEGER: Final = re.compile(r"(u?)int([0-9]{1,3})?", re.ASCII)
_FIXED: Final = re.compile(r"bytes([0-9]{1,2})", re.ASCII)
_HEX: Final = re.compile(r"0[xX]([0-9a-fA-F]{2})*", re.ASCII)
_NUMBER: Final = re.compile(r"-?[0-9]{1,78}|0[xX][0-9a-fA-F]{1,64}", re.ASCII)
_ADDRESS: Final = re.compile(r"0[xX][0-9a-fA-F]{40}", re.ASCII)
_WORD: Final = 32

Types = Mapping[str, tuple[tuple[str, str], ...]]
"""Struct name → (field, type)."""


@dataclass(frozen=True, slots=True)
class TypedData:
    """One message. Values are as JSON has them; `digest` proves that they fit their types."""

    types: Types
    primary_type: str
    encoded_type: str
    """Its type as the signature binds it (`encodeType`): structs that it refers to follow, by name."""
    domain: Mapping[str, Any]
    message: Mapping[str, Any]
    digest: bytes
    """keccak-256 of 0x1901, the domain's separator and the message's hash: what the key signs."""

    @property
    def chain_id(self) -> int | None:
        """The chain that the domain names."""
        told = self.domain.get("chainId")
        return None if told is None else number(told)

    @property
    def contract(self) -> str | None:
        """The contract that will read the signature, lower-case 0x hex."""
        told = self.domain.get("verifyingContract")
        return told.lower() if isinstance(told, str) else None


def read_typed_data(text: bytes) -> TypedData:
    """Read and hash one message. Raises InputError."""
    if len(text) > MAX_BYTES:
        raise _bad(f"has at most {MAX_BYTES} bytes")
    try:
        told = json.loads(text, object_pairs_hook=_once, parse_float=_no_fraction, parse_constant=_no_fraction)
    except (ValueError, RecursionError) as error:
        raise _bad("is not JSON in UTF-8") from error
    if not isinstance(told, dict) or set(told) != {"types", "primaryType", "domain", "message"}:
        raise _bad("has types, primaryType, domain and message, and nothing else")
    types, domain, message, primary = told["types"], told["domain"], told["message"], told["primaryType"]
    if not (isinstance(types, dict) and isinstance(domain, dict) and isinstance(message, dict)):
        raise _bad("types, domain and message are objects")
    read = _types(types, domain)
    if not isinstance(primary, str) or primary not in read or primary == _DOMAIN:
        raise _bad("primaryType is not one of its types")
    hasher = _Hasher(read)
    digest = keccak(b"\x19\x01" + hasher.struct(_DOMAIN, domain, 0) + hasher.struct(primary, message, 0))
    return TypedData(read, primary, hasher.encoded_type(primary), domain, message, digest)


def number(value: object) -> int:
    """Return a number of a message, which may be a decimal or hexadecimal text. Raises InputError."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise _bad("has something else where a number belongs")
    if isinstance(value, int):
        return value
    if _NUMBER.fullmatch(value) is None:
        raise _bad("has something else where a number belongs")
    return int(value, 16) if value[:2] in {"0x", "0X"} else int(value)


class _Hasher:
    """hashStruct and encodeData of EIP-712."""

    def __init__(self, types: Types) -> None:
        self._types = types
        self._left = _MAX_VALUES
        self._type_hashes: dict[str, bytes] = {}

    def struct(self, name: str, value: object, depth: int) -> bytes:
        """Return hashStruct."""
        fields = self._types[name]
        if not isinstance(value, dict):
            raise _bad(f"has something else where {name} belongs")
        if set(value) != {field for field, _ in fields}:
            raise _bad(f"shows other fields than {name} has")
        encoded = [self._value(kind, value[field], depth + 1) for field, kind in fields]
        return keccak(self._type_hash(name) + b"".join(encoded))

    def _type_hash(self, name: str) -> bytes:
        if name not in self._type_hashes:
            self._type_hashes[name] = keccak(self.encoded_type(name).encode())
        return self._type_hashes[name]

    def encoded_type(self, name: str) -> str:
        """Return the struct, then those that it refers to, by name."""
        found: set[str] = set()
        waiting = [name]
        while waiting:
            one = waiting.pop()
            if one not in found:
                found.add(one)
                waiting += [kind for _, told in self._types[one] if (kind := _base(told)) in self._types]
        ordered = [name, *sorted(found - {name})]
        return "".join(f"{one}({','.join(f'{kind} {field}' for field, kind in self._types[one])})" for one in ordered)

    def _value(self, kind: str, value: object, depth: int) -> bytes:
        self._left -= 1
        if depth > _MAX_DEPTH or self._left < 0:
            raise _bad(f"has at most {_MAX_DEPTH} levels and {_MAX_VALUES} values")
        array = _ARRAY.fullmatch(kind)
        if array is not None:
            if not isinstance(value, list) or (array[2] and len(value) != int(array[2])):
                raise _bad(f"has something else where {kind} belongs")
            return keccak(b"".join(self._value(array[1], one, depth + 1) for one in value))
        if kind in self._types:
            return self.struct(kind, value, depth)
        return _atomic(kind, value)


def _atomic(kind: str, value: object) -> bytes:
    if kind == "string":
        if not isinstance(value, str):
            raise _bad("has something else where text belongs")
        return keccak(_utf8(value))
    if kind == "bool":
        if not isinstance(value, bool):
            raise _bad("has something else where true or false belongs")
        return value.to_bytes(_WORD, "big")
    if kind == "address":
        if not isinstance(value, str) or _ADDRESS.fullmatch(value) is None:
            raise _bad("has something else where an address belongs")
        return bytes.fromhex(value[2:]).rjust(_WORD, b"\0")
    integer = _INTEGER.fullmatch(kind)
    if integer is not None:
        return _integer(integer[1] == "", int(integer[2] or 256), value)
    raw = _raw(value)
    fixed = _FIXED.fullmatch(kind)
    if fixed is None:
        return keccak(raw)
    if len(raw) != int(fixed[1]):
        raise _bad(f"has something else where {kind} belongs")
    return raw.ljust(_WORD, b"\0")


def _integer(signed: bool, bits: int, value: object) -> bytes:  # noqa: FBT001  of its type
    found = number(value)
    least, most = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if not least <= found <= most:
        raise _bad("has a number outside of its type")
    return (found % (1 << 256)).to_bytes(_WORD, "big")


def _raw(value: object) -> bytes:
    if not isinstance(value, str) or _HEX.fullmatch(value) is None:
        raise _bad("has something else where 0x and hex digits belong")
    return bytes.fromhex(value[2:])


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise _bad("has text that is not Unicode") from error


def _types(told: dict[str, Any], domain: dict[str, Any]) -> Types:
    if len(told) > _MAX_TYPES:
        raise _bad(f"has at most {_MAX_TYPES} types")
    found = {name: _fields(name, fields) for name, fields in told.items()}
    if _DOMAIN not in found:
        found[_DOMAIN] = tuple((field, kind) for field, kind in _DOMAIN_FIELDS if field in domain)
    for fields in found.values():
        for _, kind in fields:
            if not _known(_base(kind), found):
                raise _bad("has a type that is not known")
    return found


def _fields(name: object, told: object) -> tuple[tuple[str, str], ...]:
    if not isinstance(name, str) or _NAME.fullmatch(name) is None or _known(name, {}):
        raise _bad("has a type whose name is none")
    if not isinstance(told, list) or len(told) > _MAX_FIELDS:
        raise _bad(f"a type is a list of at most {_MAX_FIELDS} fields")
    fields = []
    for one in told:
        if not isinstance(one, dict) or set(one) != {"name", "type"}:
            raise _bad("a field has a name and a type")
        field, kind = one["name"], one["type"]
        if not (isinstance(field, str) and _NAME.fullmatch(field) and isinstance(kind, str)):
            raise _bad("a field has a name and a type")
        fields.append((field, kind))
    if len({field for field, _ in fields}) != len(fields):
        raise _bad("a type has one field twice")
    return tuple(fields)


def _base(kind: str) -> str:
    """The type of an array's innermost element."""
    for _ in range(_MAX_DEPTH):
        array = _ARRAY.fullmatch(kind)
        if array is None:
            return kind
        kind = array[1]
    raise _bad("has arrays nested too deeply")


def _known(kind: str, structs: Mapping[str, object]) -> bool:
    if kind in structs or kind in {"string", "bytes", "bool", "address"}:
        return True
    integer, fixed = _INTEGER.fullmatch(kind), _FIXED.fullmatch(kind)
    if integer is not None:
        bits = int(integer[2] or 256)
        return 8 <= bits <= 256 and bits % 8 == 0  # noqa: PLR2004  Solidity's integers
    return fixed is not None and 1 <= int(fixed[1]) <= _WORD


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key comes twice")
    return found


def _no_fraction(text: str) -> Any:
    raise ValueError(f"{text[:20]} is not a whole number")


def _bad(problem: str) -> InputError:
    return InputError(f"typed_data: {problem}", field="typed_data")
