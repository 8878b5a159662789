"""Safe multisigs (versions 1.3 to 1.5) as the vault changes them: what is signed, and the bytes that are sent.

Rules held here:

- A Safe transaction of ours is a plain call: no delegatecall, no gas refund (a refund is a payment), and coin only where
  it sweeps. Its digest is EIP-712: keccak-256(0x1901 ‖ domain separator ‖ struct hash), the domain chain id and Safe alone.
- `execTransaction` takes the owners' signatures one after the other, each r ‖ s ‖ v with v 27 or 28, sorted by owner.
- Owners and modules are linked lists on the chain: a change names the entry before, 0x…01 before the first.
- The guard is Safe's transaction guard (ITransactionGuard) and, from 1.5.0 on, its module guard (IModuleGuard).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_hash.auto import keccak

from service.domain.decode.call import selector
from service.domain.errors import InputError, UnavailableError
from service.domain.evm import address_bytes

SENTINEL: Final = "0x" + "00" * 19 + "01"
ZERO: Final = "0x" + "00" * 20
GUARD_SLOT: Final = keccak(b"guard_manager.guard.address")
MODULE_GUARD_SLOT: Final = keccak(b"module_manager.module_guard.address")
HANDLER_SLOT: Final = keccak(b"fallback_manager.handler.address")
MODULE_GUARD_SINCE: Final = (1, 5, 0)
MOST_MODULES: Final = 50
"""More than anybody enables; a longer list is not read."""
MOST_OWNERS: Final = 100
_DOMAIN: Final = keccak(b"EIP712Domain(uint256 chainId,address verifyingContract)")
_SAFE_TX: Final = keccak(
    b"SafeTx(address to,uint256 value,bytes data,uint8 operation,uint256 safeTxGas,uint256 baseGas,uint256 gasPrice,"
    b"address gasToken,address refundReceiver,uint256 nonce)"
)
_EXEC: Final = "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"
_WORD: Final = 32


Gas = tuple[int, int, int, str, str]
"""safeTxGas, baseGas, gasPrice, gasToken and refundReceiver of a Safe transaction."""
NO_REFUND: Final[Gas] = (0, 0, 0, ZERO, ZERO)


def digest(at: tuple[int, str], does: tuple[str, int, bytes, int], gas: Gas, nonce: int) -> bytes:
    """Return what owners sign; `at` is chain id and Safe, `does` to, value, data and operation."""
    domain = keccak(_DOMAIN + encode(["uint256", "address"], at))
    kinds = ["address", "uint256", "bytes32", "uint8", *["uint256"] * 3, "address", "address", "uint256"]
    to, value, data, operation = does
    return keccak(
        b"\x19\x01" + domain + keccak(_SAFE_TX + encode(kinds, [to, value, keccak(data), operation, *gas, nonce]))
    )


@dataclass(frozen=True, slots=True)
class SafeTransaction:
    """One plain call that a Safe is to make; `to` and `safe` are 0x addresses, `nonce` the Safe's own."""

    chain_id: int
    safe: str
    to: str
    data: bytes
    nonce: int
    value: int = 0
    """Of the chain's coin, in wei."""

    @property
    def name(self) -> str:
        """Its hash, by which a Safe transaction service knows it."""
        return "0x" + self.digest().hex()

    def digest(self) -> bytes:
        """Return the 32 bytes that owners sign."""
        return digest((self.chain_id, self.safe), (self.to, self.value, self.data, 0), NO_REFUND, self.nonce)

    def calldata(self, signatures: Mapping[str, bytes]) -> bytes:
        """Return the call of execTransaction; `signatures` by owner, 65 bytes each."""
        ordered = b"".join(signatures[owner] for owner in sorted(signatures, key=address_bytes))
        kinds = ["address", "uint256", "bytes", "uint8", *["uint256"] * 3, "address", "address", "bytes"]
        return selector(_EXEC) + encode(kinds, [self.to, self.value, self.data, 0, 0, 0, 0, ZERO, ZERO, ordered])


@dataclass(frozen=True, slots=True)
class SafeState:
    """What one Safe is now, as one endpoint told it. Addresses are lower-case."""

    version: tuple[int, int, int]
    nonce: int
    threshold: int
    owners: tuple[str, ...]
    modules: tuple[str, ...]
    guard: str
    module_guard: str
    handler: str = ZERO
    """The fallback handler: with one, contracts may take the owners' signatures off the chain (EIP-1271), lock or not."""

    @property
    def has_module_guard(self) -> bool:
        """Whether this version can guard modules at all."""
        return self.version >= MODULE_GUARD_SINCE

    def before(self, owner: str) -> str:
        """Return the list entry before an owner. Raises InputError when it is none."""
        if owner.lower() not in self.owners:
            raise InputError(f"{owner} is no owner of the Safe", field="owner")
        place = self.owners.index(owner.lower())
        return self.owners[place - 1] if place else SENTINEL


def call(signature: str, *arguments: object) -> bytes:
    """Return the calldata of a Solidity signature; addresses are 0x texts."""
    kinds = signature[signature.index("(") + 1 : -1]
    return selector(signature) + encode(kinds.split(",") if kinds else [], list(arguments))


def set_guard(guard: str) -> bytes:
    """Return the call that installs a transaction guard."""
    return call("setGuard(address)", guard)


def set_module_guard(guard: str) -> bytes:
    """Return the call that installs a module guard."""
    return call("setModuleGuard(address)", guard)


def swap_owner(state: SafeState, owner: str, successor: str) -> bytes:
    """Return the call that puts `successor` in the owner's place."""
    return call("swapOwner(address,address,address)", state.before(owner), owner, successor)


def remove_owner(state: SafeState, owner: str, threshold: int) -> bytes:
    """Return the call that removes an owner and sets the threshold. Raises InputError for one that nobody could meet."""
    if not 1 <= threshold <= len(state.owners) - 1:
        left = len(state.owners) - 1
        raise InputError(f"a threshold of {threshold} cannot be met by {left} owners", field="threshold")
    return call("removeOwner(address,address,uint256)", state.before(owner), owner, threshold)


def change_threshold(state: SafeState, threshold: int) -> bytes:
    """Return the call after which so many owners must sign. Raises InputError for what the owners cannot meet."""
    if not 1 <= threshold <= len(state.owners):
        raise InputError(f"a threshold of {threshold} cannot be met by {len(state.owners)} owners", field="threshold")
    return call("changeThreshold(uint256)", threshold)


def answered(kind: str, raw: bytes, what: str) -> object:
    """Return the one value that a view function answered. Raises UnavailableError for anything else."""
    try:
        (value,) = decode([kind], raw)
    except (DecodingError, ValueError, OverflowError) as error:
        raise UnavailableError(f"the chain answered {what} with something else: is the address a Safe?") from error
    return value


def addresses_answered(raw: bytes, what: str, most: int) -> tuple[str, ...]:
    """Return a list of addresses, lower-case. Raises UnavailableError when malformed or longer than `most`."""
    value = answered("address[]", raw, what)
    if not isinstance(value, tuple) or len(value) > most:
        raise UnavailableError(f"the chain answered {what} with more than {most} entries")
    return tuple(str(one).lower() for one in value)


def address_in_slot(raw: bytes) -> str:
    """Return the address that a storage slot holds. Raises UnavailableError unless it holds one."""
    if len(raw) != _WORD or any(raw[:12]):
        raise UnavailableError("the chain told a storage slot that holds no address")
    return "0x" + raw[12:].hex()


def version_of(text: str) -> tuple[int, int, int]:
    """Return a Safe's version, `1.5.0` or `1.3.0+L2`. Raises InputError."""
    parts = text.partition("+")[0].split(".")
    if len(parts) != 3 or not all(part.isdigit() and len(part) < 4 for part in parts):  # noqa: PLR2004  major.minor.patch
        raise InputError("the contract told no Safe version", field="version")
    major, minor, patch = (int(part) for part in parts)
    return major, minor, patch


def packed(r: int, s: int, parity: int) -> bytes:
    """Return a signature as Safe reads it: r ‖ s ‖ v."""
    return r.to_bytes(_WORD, "big") + s.to_bytes(_WORD, "big") + bytes([27 + parity])
