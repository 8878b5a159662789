"""EIP-1559 transactions as we build them: what is signed, and the bytes that are sent.

A type-2 transaction is 0x02 ‖ rlp([chain id, nonce, max priority fee, max fee, gas, to, value, data, access list]); its
digest is keccak-256 over exactly these bytes, and the signed form appends y parity, r and s (EIP-1559, EIP-2718). The
hash of the signed bytes names the transaction before it is sent, which is what makes a lost answer answerable.
"""

from dataclasses import dataclass
from typing import Final

import rlp
from eth_hash.auto import keccak

from service.domain.errors import InputError

NATIVE_GAS: Final = 21_000
"""What any transaction uses, and a transfer of the coin where nothing runs at its destination."""
COIN_GAS: Final = 50_000
"""Gas limit for a transfer of the coin that no node estimated: enough for a Safe and other wallets behind one proxy."""
TOKEN_GAS: Final = 100_000
"""Gas limit for a call of an ERC-20 token that no node estimated; what it does not use is not charged."""
MOST_GAS: Final = 500_000
"""The most that one transaction of an own wallet may use: a node that estimates more is not believed."""
MAX_FEE: Final = 1_000 * 10**9
"""The most that we ever offer, in wei per gas (1,000 gwei): 0.5 of the coin for MOST_GAS."""
MAX_UNITS: Final = 2**256 - 1
"""The largest amount a word of the EVM holds."""
_TRANSFER: Final = keccak(b"transfer(address,uint256)")[:4]
_BALANCE_OF: Final = keccak(b"balanceOf(address)")[:4]
_ADDRESS_BYTES: Final = 20
_WORD: Final = 32


@dataclass(frozen=True, slots=True)
class Fee:
    """Fee caps in wei per gas."""

    max_fee: int
    priority_fee: int

    def raised(self) -> "Fee":
        """Return caps an eighth higher, up to MAX_FEE: nodes replace a pending transaction only for 10 % more."""
        return _capped(self.max_fee * 9 // 8 + 1, self.priority_fee * 9 // 8 + 1)

    def times(self, factor: int) -> "Fee":
        """Return both caps multiplied, up to MAX_FEE."""
        return _capped(self.max_fee * factor, self.priority_fee * factor)


@dataclass(frozen=True, slots=True)
class Transaction:
    """One unsigned type-2 transaction; `value` in wei."""

    chain_id: int
    nonce: int
    to: str | None
    """None creates a contract from `data`."""
    value: int
    data: bytes
    gas: int
    fee: Fee

    def digest(self) -> bytes:
        """Return the 32 bytes that are signed."""
        return bytes(keccak(b"\x02" + rlp.encode(self._fields())))

    def signed(self, y_parity: int, r: int, s: int) -> bytes:
        """Return the bytes to send."""
        return b"\x02" + bytes(rlp.encode([*self._fields(), y_parity, r, s]))

    def _fields(self) -> list[object]:
        return [
            self.chain_id,
            self.nonce,
            self.fee.priority_fee,
            self.fee.max_fee,
            self.gas,
            b"" if self.to is None else address_bytes(self.to),
            self.value,
            self.data,
            [],
        ]


def _capped(max_fee: int, priority_fee: int) -> Fee:
    return Fee(min(max_fee, MAX_FEE), min(priority_fee, MAX_FEE))


def gas_limit(estimated: int | None, otherwise: int, used_in_vain: int = 0) -> int:
    """Return the gas limit of a transaction, NATIVE_GAS to MOST_GAS: a fifth over what a node estimates.

    `otherwise` counts where it did not, or is not believed. `used_in_vain` is what the same transaction had used when it
    failed: it gets twice that at least. Nothing runs where 21,000 are enough, so there nothing is added.
    """
    if estimated is None or estimated > MOST_GAS:
        limit = otherwise
    else:
        limit = NATIVE_GAS if estimated <= NATIVE_GAS else estimated * 6 // 5
    return min(max(limit, 2 * used_in_vain), MOST_GAS)


def ran_out(used: int, limit: int) -> bool:
    """Say whether a transaction that failed had too little gas: a call inside it leaves 1/64 to its caller (EIP-150)."""
    return used * 16 >= limit * 15


def gas_of(raw: bytes) -> int:
    """Return the gas limit in the bytes of a signed type-2 transaction."""
    return int.from_bytes(rlp.decode(raw[1:])[4], "big")


def transaction_hash(raw: bytes) -> str:
    """Return the 0x-prefixed hash that names a signed transaction."""
    return "0x" + keccak(raw).hex()


def address_bytes(address: str) -> bytes:
    """Return the 20 bytes of a 0x address. Raises InputError."""
    try:
        raw = bytes.fromhex(address.removeprefix("0x"))
    except ValueError as error:
        raise InputError("an EVM address is 0x and 40 hexadecimal digits", field="address") from error
    if len(raw) != _ADDRESS_BYTES or not address.startswith("0x"):
        raise InputError("an EVM address is 0x and 40 hexadecimal digits", field="address")
    return raw


def contract_address(sender: str, nonce: int) -> str:
    """Return the address of the contract that a sender's transaction of this nonce creates (yellow paper, section 7)."""
    return "0x" + keccak(rlp.encode([address_bytes(sender), nonce]))[-_ADDRESS_BYTES:].hex()


def transfer_data(to: str, amount_base_units: int) -> bytes:
    """Return the calldata of an ERC-20 transfer (EIP-20). Raises InputError for an amount that no token can have."""
    if not 0 <= amount_base_units <= MAX_UNITS:
        raise InputError("an amount is 0 to 2^256 - 1 base units", field="amount_base_units")
    return _TRANSFER + address_bytes(to).rjust(_WORD, b"\0") + amount_base_units.to_bytes(_WORD, "big")


def balance_data(owner: str) -> bytes:
    """Return the calldata of an ERC-20 balanceOf."""
    return _BALANCE_OF + address_bytes(owner).rjust(_WORD, b"\0")


def chain_number(chain: str) -> int:
    """Return the chain id of a CAIP-2 `eip155:<number>`. Raises InputError."""
    namespace, _, number = chain.partition(":")
    if namespace != "eip155" or not number.isdigit():
        raise InputError(f"{chain} is not an EVM chain: expected eip155:<number>", field="chain")
    return int(number)
