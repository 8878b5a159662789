"""What a key signs of a Bitcoin transaction, from the bytes that are hashed for it, one entry for each input.

Rules: an entry is either the legacy form, the whole transaction with the spent coin's script in the input that is signed
and every other script empty, or that of segwit version 0 (BIP-143), which tells the coin and its amount, and commits to
the payments by their hash only. Both end in the type of signature; only SIGHASH_ALL is read, because every other leaves
inputs or payments open. Bytes that both forms fit are refused. The entries of one transaction agree on all that they
commit to, and their coins, in their order, are exactly those that it spends: a coin that nobody told would hide a fee or a
thief's share. Taproot (BIP-341) signs another hash and is not read.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from service.domain.bitcoin.network import MAX_SATS
from service.domain.decode.bitcoin import Output, Reader, bad, double_sha256, read_transaction
from service.domain.errors import InputError

MAX_INPUTS: Final = 500
_HASH: Final = 32
_TYPE_BYTES: Final = 4
_ALL: Final = 1
_KEY_HASH: Final = 25
_MAX_SCRIPT: Final = 10_000


@dataclass(frozen=True, slots=True)
class Committed:
    """What every signature of one transaction commits to, as BIP-143 hashes it."""

    version: int
    prevouts: bytes
    sequences: bytes
    outputs: bytes
    locktime: int


@dataclass(frozen=True, slots=True)
class Preimage:
    """One entry."""

    committed: Committed
    outpoint: bytes
    """The coin: its transaction's id in the order of the bytes, and its number."""
    sequence: int
    script: bytes
    """Of the coin, as far as it is signed: of a key's hash always the script of P2PKH."""
    amount_sats: int | None
    """None in the legacy form."""
    outputs: tuple[Output, ...] | None
    """None in the form of BIP-143."""
    digest: bytes
    """What the key signs."""

    @property
    def key_hash(self) -> bytes | None:
        """The hash of the one key that spends the coin; None for a coin of any other kind."""
        script = self.script
        plain = len(script) == _KEY_HASH and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac"
        return script[3:23] if plain else None


@dataclass(frozen=True, slots=True)
class Spend:
    """One transaction as all its entries tell it."""

    committed: Committed
    coins: bytes
    """Their outpoints, one after another."""
    outputs: tuple[Output, ...] | None
    """None where only their hash is told."""
    total_sats: int | None
    """What is spent; None unless every amount is told."""
    key_hash: bytes | None
    """The hash of the key that spends all coins; None where they are of several keys or of another kind."""

    @property
    def digest(self) -> bytes:
        """SHA-256 of what it does: coins, payments and locktime."""
        parts = (self.coins, self.committed.outputs, self.committed.locktime.to_bytes(4, "little"))
        return hashlib.sha256(b"portcullis/bitcoin/v1\0" + b"".join(parts)).digest()


def read_preimage(raw: bytes, field: str) -> Preimage:
    """Return one entry. Raises InputError naming `field`."""
    found, refused = [], []
    for read in (_legacy, _segwit):
        try:
            found.append(read(raw, field))
        except InputError as error:
            refused.append(error)
    if not found:
        raise refused[0]
    if len(found) > 1:
        raise bad(field, "can be read in two ways")
    return found[0]


def one_spend(entries: Sequence[Preimage], field: str) -> Spend:
    """Return the transaction that the entries are of. Raises InputError naming `field` unless it is one, and all of it."""
    if not 0 < len(entries) <= MAX_INPUTS:
        raise bad(field, f"has 1 to {MAX_INPUTS} inputs")
    committed = entries[0].committed
    if any(one.committed != committed for one in entries):
        raise bad(field, "holds parts of several transactions")
    coins = [one.outpoint for one in entries]
    if len(set(coins)) != len(coins):
        raise bad(field, "spends one coin twice")
    sequences = b"".join(one.sequence.to_bytes(4, "little") for one in entries)
    if (double_sha256(b"".join(coins)), double_sha256(sequences)) != (committed.prevouts, committed.sequences):
        raise bad(field, "spends other coins than it tells")
    amounts = [one.amount_sats for one in entries if one.amount_sats is not None]
    total = sum(amounts) if len(amounts) == len(entries) else None
    keys = {one.key_hash for one in entries}
    outputs = next((one.outputs for one in entries if one.outputs is not None), None)
    return Spend(committed, b"".join(coins), outputs, total, keys.pop() if len(keys) == 1 else None)


def hash_of(outputs: Sequence[Output]) -> bytes:
    """Return what BIP-143 commits to of all payments."""
    return double_sha256(b"".join(one.serialized() for one in outputs))


def _legacy(raw: bytes, field: str) -> Preimage:
    transaction = read_transaction(raw[:-_TYPE_BYTES], field, witness=False)
    _check_type(int.from_bytes(raw[-_TYPE_BYTES:], "little"), field)
    signed = [one for one in transaction.inputs if one.script_sig]
    if len(signed) != 1:
        raise bad(field, "has the script of one input, the one that is signed")
    points = [one.txid + one.vout.to_bytes(4, "little") for one in transaction.inputs]
    sequences = [one.sequence.to_bytes(4, "little") for one in transaction.inputs]
    committed = Committed(
        transaction.version,
        double_sha256(b"".join(points)),
        double_sha256(b"".join(sequences)),
        hash_of(transaction.outputs),
        transaction.locktime,
    )
    (own,) = signed
    point = points[transaction.inputs.index(own)]
    return Preimage(committed, point, own.sequence, own.script_sig, None, transaction.outputs, double_sha256(raw))


def _segwit(raw: bytes, field: str) -> Preimage:
    reader = Reader(raw, field)
    version, prevouts, sequences = reader.number(4), reader.take(_HASH), reader.take(_HASH)
    point, script, amount, sequence = reader.take(_HASH + 4), reader.counted(), reader.number(8), reader.number(4)
    outputs, locktime = reader.take(_HASH), reader.number(4)
    _check_type(reader.number(_TYPE_BYTES), field)
    reader.end()
    if amount > MAX_SATS or len(script) > _MAX_SCRIPT:
        raise bad(field, "spends more than there is, or has a script that no coin has")
    committed = Committed(version, prevouts, sequences, outputs, locktime)
    return Preimage(committed, point, sequence, script, amount, None, double_sha256(raw))


def _check_type(kind: int, field: str) -> None:
    if kind != _ALL:
        raise bad(field, "asks for a signature that leaves inputs or payments open")
