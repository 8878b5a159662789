"""Calldata of a Safe's execTransaction, as it would be signed to upgrade a Safe: no value, no refund.

ABI (Solidity contract ABI specification): ten head words, then the two dynamic `bytes` by offset. The inner data is a
transfer of nothing to the target itself, as an upgrade that masks itself as a token transfer has it.
"""

from eth_hash.auto import keccak

WORD = 32
SIGNATURE = b"execTransaction(address,uint256,bytes,uint8,uint256,uint256,uint256,address,address,bytes)"
INNER_SIGNATURE = b"transfer(address,uint256)"


def _word(value: int) -> bytes:
    return value.to_bytes(WORD, "big")


def exec_transaction(target: str, operation: int) -> bytes:
    """Return the calldata of a call (0) or delegatecall (1) of `target` (0x address)."""
    address = int(target, 16)
    inner = keccak(INNER_SIGNATURE)[:4] + _word(address) + _word(0)
    padded = inner + bytes(-len(inner) % WORD)
    inner_at = 10 * WORD
    signatures_at = inner_at + WORD + len(padded)
    head = [address, 0, inner_at, operation, 0, 0, 0, 0, 0, signatures_at]
    dynamic = _word(len(inner)) + padded + _word(0)
    return keccak(SIGNATURE)[:4] + b"".join(map(_word, head)) + dynamic
