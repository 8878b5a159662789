"""Coins of a wallet (unspent outputs), proven by the transactions that made them.

Rules: whoever tells of a coin may lie, so a coin counts only with the transaction that made it, whose hash is its name: the
amount and the script are read from there and from nowhere else. A script that is not the wallet's at the place told is a
foreign coin and an error, never left out in silence.
"""

from dataclasses import dataclass
from typing import Any, Final

from embit.transaction import Transaction

from service.domain.bitcoin.descriptor import Descriptor, Place
from service.domain.bitcoin.network import MAX_SATS
from service.domain.errors import InputError

MAX_TRANSACTION_BYTES: Final = 4_000_000
"""A block's weight is the most that any transaction has."""
TXID_DIGITS: Final = 64


@dataclass(frozen=True, slots=True, order=True)
class Outpoint:
    """An output's name: the transaction's id as people write it, and its position."""

    txid: str
    vout: int

    @property
    def text(self) -> str:
        """`txid:vout`."""
        return f"{self.txid}:{self.vout}"


@dataclass(frozen=True, slots=True)
class Coin:
    """One unspent output of a wallet."""

    at: Outpoint
    amount: int
    """Satoshis."""
    place: Place
    made_by: bytes
    """The transaction that made it, as it stands in the chain: signers check it (BIP-174, non-witness UTXO)."""
    is_confirmed: bool = True
    """False while that transaction is in no block: whoever made it may still replace it, and the coin is gone."""


def proven(outpoint: Outpoint, made_by: bytes, descriptor: Descriptor, branch: int, index: int) -> Coin:
    """Return a coin whose making transaction says what it is worth.

    Raises InputError when the bytes are not that transaction, or the output is not the wallet's at this place.
    """
    transaction = parsed(made_by)
    if txid_of(transaction) != outpoint.txid:
        raise InputError(f"the transaction given for {outpoint.text} has another hash: somebody lies", field="coin")
    if not 0 <= outpoint.vout < len(transaction.vout):
        raise InputError(f"{outpoint.text} does not exist: its transaction has fewer outputs", field="coin")
    output = transaction.vout[outpoint.vout]
    place = descriptor.place(branch, index)
    if bytes(output.script_pubkey.data) != place.script_pubkey:
        raise InputError(f"{outpoint.text} is a foreign coin: its script is not the wallet's", field="coin")
    return Coin(outpoint, int(output.value), place, made_by)


def parsed(raw: bytes) -> Any:
    """Return the library's transaction of serialised bytes. Raises InputError."""
    if not 0 < len(raw) <= MAX_TRANSACTION_BYTES:
        raise InputError(f"a transaction has 1 to {MAX_TRANSACTION_BYTES} bytes", field="transaction")
    try:
        found = Transaction.parse(raw)
        whole = found.serialize() == raw
    except Exception:  # noqa: BLE001  an untyped parser of hostile bytes: whatever it raises, they are no transaction
        whole = False
    if not whole or not found.vin or not found.vout:
        raise InputError("the bytes are no Bitcoin transaction", field="transaction")
    if any(not 0 <= output.value <= MAX_SATS for output in found.vout):
        raise InputError("an output of the transaction is worth more than there is", field="transaction")
    return found


def txid_of(transaction: Any) -> str:
    """Return a transaction's id as people write it (byte order reversed)."""
    return str(transaction.txid().hex())


def spends(transaction: Any) -> tuple[Outpoint, ...]:
    """Return the outputs that a transaction spends."""
    return tuple(Outpoint(one.txid.hex(), one.vout) for one in transaction.vin)
