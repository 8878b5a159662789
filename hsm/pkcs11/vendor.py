"""Derivation of BIP-32 keys inside tokens that can: Thales Luna and ProtectToolkit, IBM EP11. Layouts and numbers.

Rules held here:
- Cryptoki's types on LP64 Unix: CK_ULONG and handles 8 bytes, natural alignment (PKCS#11 v2.40 section 4; on Windows the
  structures are packed to one byte, which is refused). The layouts below are written down from the vendors' headers and
  held byte by byte in tests/unit/hsm/test_vendor.py. No vendor's token was at hand (`docs/limits.md`).
- Numbers above CKM_VENDOR_DEFINED mean something with their vendor only (PKCS#11 v2.40 section 3.5), and other vendors
  give these very names other numbers. So a mechanism counts only together with the manufacturer that the token names.

Sources: Luna, ProtectToolkit: cryptoki_v2.h and the pages CKM_BIP32_MASTER_DERIVE and CKM_BIP32_CHILD_DERIVE of Thales'
SDK guides. EP11: ep11.h and opencryptoki's pkcs11types.h, and there testcases/crypto/ec_func.c for the order of calls.
"""

import ctypes
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from hsm.errors import MechanismMissingError

VENDOR_DEFINED: Final = 0x80000000

CKM_BIP32_MASTER_DERIVE: Final = VENDOR_DEFINED + 0xE00
CKM_BIP32_CHILD_DERIVE: Final = VENDOR_DEFINED + 0xE01
CKK_BIP32: Final = VENDOR_DEFINED + 0x14
CKA_BIP32_CHAIN_CODE: Final = VENDOR_DEFINED + 0x1100

CKM_IBM_BTC_DERIVE: Final = VENDOR_DEFINED + 0x70001
CKA_IBM_USE_AS_DATA: Final = VENDOR_DEFINED + 0x10008
IBM_PRV2PRV: Final = 1
IBM_PRV2PUB: Final = 2
IBM_MASTERK: Final = 4
IBM_VERSION: Final = 1
CHAIN_CODE_BYTES: Final = 32


class Attribute(ctypes.Structure):
    """CK_ATTRIBUTE, 24 bytes."""

    _fields_ = (
        ("type", ctypes.c_ulong),
        ("pValue", ctypes.c_void_p),
        ("ulValueLen", ctypes.c_ulong),
    )


class MasterDeriveParams(ctypes.Structure):
    """CK_BIP32_MASTER_DERIVE_PARAMS, 48 bytes; the two handles are written by the token."""

    _fields_ = (
        ("pPublicKeyTemplate", ctypes.c_void_p),
        ("ulPublicKeyAttributeCount", ctypes.c_ulong),
        ("pPrivateKeyTemplate", ctypes.c_void_p),
        ("ulPrivateKeyAttributeCount", ctypes.c_ulong),
        ("hPublicKey", ctypes.c_ulong),
        ("hPrivateKey", ctypes.c_ulong),
    )


class ChildDeriveParams(ctypes.Structure):
    """CK_BIP32_CHILD_DERIVE_PARAMS, 72 bytes; handles and error index are written by the token."""

    _fields_ = (
        ("pPublicKeyTemplate", ctypes.c_void_p),
        ("ulPublicKeyAttributeCount", ctypes.c_ulong),
        ("pPrivateKeyTemplate", ctypes.c_void_p),
        ("ulPrivateKeyAttributeCount", ctypes.c_ulong),
        ("pulPath", ctypes.c_void_p),
        ("ulPathLen", ctypes.c_ulong),
        ("hPublicKey", ctypes.c_ulong),
        ("hPrivateKey", ctypes.c_ulong),
        ("ulPathErrorIndex", ctypes.c_ulong),
    )


class BtcDeriveParams(ctypes.Structure):
    """CK_IBM_BTC_DERIVE_PARAMS, 40 bytes; the chain code it points to is read and then written by the token."""

    _fields_ = (
        ("type", ctypes.c_ulong),
        ("childKeyIndex", ctypes.c_ulong),
        ("pChainCode", ctypes.c_void_p),
        ("ulChainCodeLen", ctypes.c_ulong),
        ("version", ctypes.c_ulong),
    )


class Dialect(StrEnum):
    """Whose way of deriving a token speaks."""

    THALES = "thales"
    EP11 = "ep11"


@dataclass(frozen=True, slots=True)
class _Speaks:
    dialect: Dialect
    manufacturers: tuple[str, ...]
    mechanisms: frozenset[int]


_DIALECTS: Final = (
    _Speaks(
        Dialect.THALES,
        ("safenet", "thales", "gemalto"),
        frozenset({CKM_BIP32_MASTER_DERIVE, CKM_BIP32_CHILD_DERIVE}),
    ),
    _Speaks(Dialect.EP11, ("ibm",), frozenset({CKM_IBM_BTC_DERIVE})),
)


def dialect_of(manufacturer: str, mechanisms: frozenset[int]) -> Dialect | None:
    """Return how a token derives BIP-32 keys by itself, or None: then seeds are opened in the process.

    `mechanisms` are the numbers of C_GetMechanismList, `manufacturer` the text of CK_TOKEN_INFO.
    """
    maker = manufacturer.lower()
    for speaks in _DIALECTS:
        if maker.startswith(speaks.manufacturers) and speaks.mechanisms <= mechanisms:
            require_layout_of_this_platform()
            return speaks.dialect
    return None


def require_layout_of_this_platform() -> None:
    """Raise MechanismMissingError where the layouts do not hold: Windows, and machines without 8-byte longs."""
    if sys.platform == "win32" or ctypes.sizeof(ctypes.c_ulong) != ctypes.sizeof(ctypes.c_void_p):
        raise MechanismMissingError("the token's own BIP-32 mechanisms are used on 64-bit Unix only")


class Template:
    """A CK_ATTRIBUTE array in memory; it lives as long as this object."""

    def __init__(self, attributes: Sequence[tuple[int, bytes]]) -> None:
        self._values = [ctypes.create_string_buffer(value, len(value)) for _, value in attributes]
        self._array = (Attribute * len(attributes))(
            *(
                Attribute(kind, ctypes.addressof(held), len(value))
                for (kind, value), held in zip(attributes, self._values, strict=True)
            )
        )

    @property
    def address(self) -> int:
        """Where it begins."""
        return ctypes.addressof(self._array)

    @property
    def count(self) -> int:
        """How many attributes it has."""
        return len(self._values)


def ulong(number: int) -> bytes:
    """Return a number as a CK_ULONG's bytes, for a template."""
    return bytes(ctypes.c_ulong(number))


def flag(*, on: bool) -> bytes:
    """Return a CK_BBOOL's byte."""
    return b"\x01" if on else b"\x00"
