"""Reads the guard contract as it was compiled; `contracts/PortcullisGuard.sol` is its source.

Rule: the bytes are those that `node tests/npm/compile.cjs` makes of the source; a test rebuilds and compares them.
"""

from importlib.resources import files
from typing import Final

import msgspec

from service.domain.guard import GuardCode

_ARTIFACT: Final = "PortcullisGuard.json"


class _Artifact(msgspec.Struct):
    bytecode: str
    deployedBytecode: str  # noqa: N815  the compiler's name


def guard_code() -> GuardCode:
    """Return the compiled guard."""
    raw = files("service.chain").joinpath("contracts", _ARTIFACT).read_bytes()
    read = msgspec.json.decode(raw, type=_Artifact)
    return GuardCode(bytes.fromhex(read.bytecode[2:]), bytes.fromhex(read.deployedBytecode[2:]))
