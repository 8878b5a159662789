"""Bitcoin as a co-signer tells it: one entry for each input, with the hash that embit, which is not ours, computes."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from embit import compact
from embit.script import Script
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from service.custody.fireblocks.seen import RawTx

Coin = tuple[bytes, int | None]
"""The hash of the key that spends it, and its amount: None for a legacy coin."""

ALL = (1).to_bytes(4, "little")


def unsigned(coins: Sequence[Coin], outputs: Sequence[tuple[int, bytes]], *, locktime: int = 0) -> Any:
    """A transaction that spends as many made-up coins."""
    spent = [TransactionInput(bytes([7 + number]) * 32, number) for number in range(len(coins))]
    paid = [TransactionOutput(amount, Script(script)) for amount, script in outputs]
    return Transaction(vin=spent, vout=paid, locktime=locktime)


def entries(coins: Sequence[Coin], outputs: Sequence[tuple[int, bytes]], *, locktime: int = 0) -> tuple[RawTx, ...]:
    """What the co-signer gives its key of that transaction."""
    made = unsigned(coins, outputs, locktime=locktime)
    return tuple(_entry(made, number, key, amount) for number, (key, amount) in enumerate(coins))


def as_json(raw: Sequence[RawTx]) -> list[dict[str, str]]:
    """Entries as they stand in a question."""
    return [{"keyDerivationPath": "[ 44, 0, 0, 0, 0 ]", "rawTx": one.raw_tx, "payload": one.payload} for one in raw]


def of_key(key: bytes) -> bytes:
    """The script of P2PKH, which is signed for P2WPKH, too."""
    return b"\x76\xa9\x14" + key + b"\x88\xac"


def witness(key: bytes) -> bytes:
    """The script of P2WPKH."""
    return b"\x00\x14" + key


def _entry(made: Any, number: int, key: bytes, amount: int | None) -> RawTx:
    script = Script(of_key(key))
    if amount is None:
        return RawTx(_legacy(made, number, script).hex(), made.sighash_legacy(number, script, 1).hex())
    one = made.vin[number]
    parts = [made.version.to_bytes(4, "little"), _twice(made.hash_prevouts()), _twice(made.hash_sequence())]
    parts += [
        bytes(reversed(one.txid)),
        one.vout.to_bytes(4, "little"),
        script.serialize(),
        amount.to_bytes(8, "little"),
    ]
    parts += [one.sequence.to_bytes(4, "little"), _twice(made.hash_outputs()), made.locktime.to_bytes(4, "little"), ALL]
    return RawTx(b"".join(parts).hex(), made.sighash_segwit(number, script, amount, 1).hex())


def _twice(once: bytes) -> bytes:
    """embit keeps the inner one of two hashes."""
    return sha256(once).digest()


def _legacy(made: Any, number: int, script: Script) -> bytes:
    parts = [made.version.to_bytes(4, "little"), compact.to_bytes(len(made.vin))]
    for place, one in enumerate(made.vin):
        parts += [bytes(reversed(one.txid)), one.vout.to_bytes(4, "little")]
        parts += [script.serialize() if place == number else b"\x00", one.sequence.to_bytes(4, "little")]
    parts += [compact.to_bytes(len(made.vout)), *(one.serialize() for one in made.vout)]
    return b"".join([*parts, made.locktime.to_bytes(4, "little"), ALL])
