"""EVM transactions as bytes: EIP-1559 payloads, ERC-20 transfers, Safe execTransaction, EIP-55 addresses.

Rules: a signing payload is keccak-256 of the type byte and the RLP list (EIP-1559, EIP-2718); calldata that is
neither an ERC-20 transfer nor a Safe execTransaction moves nothing here. The signer is recovered with eth-account, an
implementation that shares no code with the one under test.
"""

from dataclasses import dataclass

import rlp
from eth_hash.auto import keccak

from drills.emulator.errors import FieldError, RpcError
from drills.emulator.records import EvmCall
from drills.evm.wallet import sender_of

TYPE_1559 = 2
SIGNED_FIELDS = 12
WORD = 32
ADDRESS_BYTES = 20
MAX_RAW_BYTES = 128 * 1024
DELEGATECALL = 1


def selector(signature: str) -> bytes:
    """First four bytes of keccak-256 of a Solidity signature."""
    return keccak(signature.encode())[:4]


TRANSFER = selector("transfer(address,uint256)")
BALANCE_OF = selector("balanceOf(address)")
EXEC_TRANSACTION = selector(
    "execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)",
)


@dataclass(frozen=True, slots=True)
class Fees:
    """Gas limit and fees per gas in wei (EIP-1559)."""

    gas: int
    max_fee: int
    priority_fee: int


@dataclass(frozen=True, slots=True)
class EvmTransaction:
    """An EIP-1559 transaction without its signature."""

    chain_id: int
    nonce: int
    fees: Fees
    call: EvmCall

    def unsigned_bytes(self) -> bytes:
        """Type byte and RLP of the nine unsigned fields; an empty access list."""
        fields = [self.chain_id, self.nonce, self.fees.priority_fee, self.fees.max_fee, self.fees.gas]
        return bytes([TYPE_1559]) + bytes(
            rlp.encode([*fields, address_bytes(self.call.to), self.call.value, self.call.data, []]),
        )

    def payload(self) -> bytes:
        """The 32 bytes that the key signs."""
        return keccak(self.unsigned_bytes())


@dataclass(frozen=True, slots=True)
class SafeCall:
    """The inner call of a Safe execTransaction; operation 1 is a delegatecall."""

    to: str
    value: int
    operation: int


def address_bytes(address: str) -> bytes:
    """The 20 bytes of a 0x address; FieldError otherwise."""
    text = address.removeprefix("0x")
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        raw = b""
    if len(raw) != ADDRESS_BYTES or len(text) != 2 * ADDRESS_BYTES:
        raise FieldError(f"{address!r} is not an EVM address; give 0x and 40 hex digits")
    return raw


def checksum_address(address: str) -> str:
    """The EIP-55 mixed-case form."""
    digits = address_bytes(address).hex()
    digest = keccak(digits.encode()).hex()
    return "0x" + "".join(c.upper() if int(d, 16) > 7 else c for c, d in zip(digits, digest, strict=False))  # noqa: PLR2004 - EIP-55: high bit of the nibble


def to_caip10(address: str, chain_id: int) -> str:
    """CAIP-10 id of a 0x address, lower case."""
    return f"eip155:{chain_id}:0x{address_bytes(address).hex()}"


def from_caip10(account: str) -> str:
    """The lower-case 0x address of an eip155 CAIP-10 id; FieldError otherwise."""
    namespace, _, rest = account.partition(":")
    reference, _, address = rest.partition(":")
    if namespace != "eip155" or not reference.isdigit():
        raise FieldError(f"{account!r} is not an eip155 CAIP-10 id; give for example eip155:1:0x…")
    return "0x" + address_bytes(address).hex()


def transfer_call(contract: str | None, recipient: str, amount: int) -> EvmCall:
    """The call that moves `amount` of the native coin, or of the ERC-20 at `contract`."""
    if contract is None:
        return EvmCall(to=recipient, value=amount)
    data = TRANSFER + address_bytes(recipient).rjust(WORD, b"\0") + amount.to_bytes(WORD, "big")
    return EvmCall(to=contract, value=0, data=data)


def read_erc20_transfer(data: bytes) -> tuple[str, int] | None:
    """Recipient and amount when the calldata is exactly an ERC-20 transfer."""
    if len(data) != 4 + 2 * WORD or data[:4] != TRANSFER or any(data[4:16]):
        return None
    return "0x" + data[16:36].hex(), int.from_bytes(data[36:68], "big")


def read_exec_transaction(data: bytes) -> SafeCall | None:
    """The inner call when the calldata is a Safe execTransaction."""
    if data[:4] != EXEC_TRANSACTION or len(data) < 4 + 10 * WORD:
        return None
    words = [data[4 + i * WORD : 4 + (i + 1) * WORD] for i in range(4)]
    return SafeCall("0x" + words[0][12:].hex(), int.from_bytes(words[1], "big"), int.from_bytes(words[3], "big"))


def decode_signed(raw: bytes) -> tuple[EvmTransaction, str]:
    """The transaction and the recovered 0x sender of a signed EIP-1559 transaction; RpcError when it is anything else."""
    if len(raw) > MAX_RAW_BYTES or not raw or raw[0] != TYPE_1559:
        raise RpcError("only EIP-1559 (type 2) transactions up to 128 kB are accepted")
    try:
        fields = rlp.decode(raw[1:])
        sender = sender_of(raw)
    except Exception as error:
        raise RpcError(f"transaction cannot be decoded: {type(error).__name__}") from error
    if len(fields) != SIGNED_FIELDS or len(fields[5]) != ADDRESS_BYTES:
        raise RpcError("an EIP-1559 transaction to an address has 12 fields; contract creation is not emulated")
    numbers = [int.from_bytes(fields[i], "big") for i in (0, 1, 2, 3, 4, 6)]
    chain_id, nonce, priority, max_fee, gas, value = numbers
    call = EvmCall("0x" + fields[5].hex(), value, bytes(fields[7]))
    return EvmTransaction(chain_id, nonce, Fees(gas, max_fee, priority), call), "0x" + address_bytes(sender).hex()
