"""Partially signed Bitcoin transactions (BIP-174 version 0, BIP-370 version 2) from bytes: who is paid, and the fee.

Rules: bytes that are not exactly one PSBT are refused with the field named, never half-read; a count is believed only as
far as bytes are there to fill it; a key that comes twice, or belongs to the other version, is refused. An amount that is
spent is proven by the whole previous transaction, whose id must be the one that is spent, or by a taproot signature, which
commits to all amounts (BIP-341); of other inputs the amount is only told (`proven` is false), which is how a fee is hidden.
A signature that leaves outputs open (SIGHASH_NONE, SINGLE, ANYONECANPAY) is named, because what is shown is then not all.
"""

import hashlib
from dataclasses import dataclass
from typing import Final

from service.domain.bitcoin.network import MAX_SATS, NETWORK_OF, TEST, Network, address_of
from service.domain.decode.bitcoin import Output, Reader, Transaction, bad, read_transaction

MAGIC: Final = b"psbt\xff"
MAX_PSBT_BYTES: Final = 4 * 1024 * 1024
MAX_PARTS: Final = 5_000
"""Inputs, and outputs, of one transaction."""

# Key types of the global map, of an input and of an output.
_UNSIGNED: Final = b"\x00"
_TX_VERSION: Final = b"\x02"
_LOCKTIME: Final = b"\x03"
_INPUTS: Final = b"\x04"
_OUTPUTS: Final = b"\x05"
_VERSION: Final = b"\xfb"
_PREVIOUS: Final = b"\x00"
_WITNESS_UTXO: Final = b"\x01"
_SIGHASH: Final = b"\x03"
_TXID: Final = b"\x0e"
_INDEX: Final = b"\x0f"
_SEQUENCE: Final = b"\x10"
_OWN_LOCKS: Final = frozenset({b"\x11", b"\x12"})
"""Times and heights that single inputs ask for: nobody we know uses them, and the id would depend on them."""
_AMOUNT: Final = b"\x03"
_SCRIPT: Final = b"\x04"
_ONLY_V0: Final = frozenset({_UNSIGNED})
_ONLY_V2: Final = frozenset({_TX_VERSION, _LOCKTIME, _INPUTS, _OUTPUTS})
_IN_V2: Final = frozenset({_TXID, _INDEX, _SEQUENCE}) | _OWN_LOCKS
_OUT_V2: Final = frozenset({_AMOUNT, _SCRIPT})
_HASH: Final = 32
_FINAL: Final = 0xFFFFFFFF
_RBF_BELOW: Final = 0xFFFFFFFE
_COMPLETE: Final = frozenset({None, 0, 1})
"""Sighash types that sign every input and every output: none told, DEFAULT, ALL."""
_SHOWN: Final = 10
_V0: Final = 0
_V2: Final = 2

Fields = dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class PsbtInput:
    """One coin that is spent. `amount_sats`, `script` and `address` are None where the PSBT does not tell them."""

    txid: str
    vout: int
    sequence: int
    amount_sats: int | None
    script: bytes | None
    address: str | None
    proven: bool
    """Whether the amount is more than told."""
    ours: bool
    sighash: int | None

    @property
    def signs_everything(self) -> bool:
        """Whether a signature of this type binds every output."""
        return self.sighash in _COMPLETE


@dataclass(frozen=True, slots=True)
class PsbtOutput:
    """One payment. `address` is None for a script that has none."""

    amount_sats: int
    script: bytes
    address: str | None
    ours: bool


@dataclass(frozen=True, slots=True)
class Psbt:
    """What a PSBT does."""

    txid: str
    """Of the unsigned transaction; a spend of segwit coins alone keeps it when signed."""
    version: int
    locktime: int
    inputs: tuple[PsbtInput, ...]
    outputs: tuple[PsbtOutput, ...]
    fee_sats: int | None
    """Spent less paid; None while the amount of an input is not told."""

    @property
    def foreign(self) -> tuple[PsbtInput, ...]:
        """Inputs whose script is not one of ours, or not told."""
        return tuple(one for one in self.inputs if not one.ours)

    @property
    def paid(self) -> tuple[PsbtOutput, ...]:
        """Outputs that leave us."""
        return tuple(one for one in self.outputs if not one.ours)

    @property
    def open_signatures(self) -> bool:
        """Whether an input asks for a signature that leaves something open."""
        return not all(one.signs_everything for one in self.inputs)

    @property
    def fee_proven(self) -> bool:
        """Whether the fee cannot be other than it seems."""
        return self.fee_sats is not None and all(one.proven for one in self.inputs)

    @property
    def replaceable(self) -> bool:
        """Whether it signals that it may be replaced (BIP-125)."""
        return any(one.sequence < _RBF_BELOW for one in self.inputs)

    def sentence(self) -> str:
        """Return what it does in plain words; amounts in satoshi."""
        shown = [f"{one.amount_sats} sat to {one.address or 'script ' + one.script.hex()[:80]}" for one in self.paid]
        more = f" and {len(shown) - _SHOWN} more" if len(shown) > _SHOWN else ""
        words = f"pays {', '.join(shown[:_SHOWN]) or 'nobody but ourselves'}{more}"
        if self.fee_sats is None:
            words += ", fee unknown"
        else:
            words += f", fee {self.fee_sats} sat{'' if self.fee_proven else ' as told, not proven'}"
        if self.foreign:
            words += f", spends {len(self.foreign)} foreign input{'s' * (len(self.foreign) > 1)}"
        return words + (", signatures leave outputs or inputs open" if self.open_signatures else "")


def describe_psbt(raw: bytes, *, chain: str, own_scripts: frozenset[bytes] = frozenset()) -> Psbt:
    """Return what a PSBT does.

    `chain`: its CAIP-2 id, bip122:…; decides how addresses are written, as a test network's where it is not known.
    `own_scripts`: scriptPubKeys of our wallet, by which inputs and outputs are known as ours. Raises InputError (field
    `psbt`).
    """
    if not len(MAGIC) < len(raw) <= MAX_PSBT_BYTES or not raw.startswith(MAGIC):
        raise _bad(f"is not a PSBT of at most {MAX_PSBT_BYTES} bytes")
    network = NETWORK_OF.get(chain, TEST)
    reader = Reader(raw[len(MAGIC) :], "psbt")
    unsigned, inputs = _parts(reader)
    found = tuple(_input(unsigned, i, fields, network, own_scripts) for i, fields in enumerate(inputs))
    if len({(one.txid, one.vout) for one in found}) != len(found):
        raise _bad("spends one coin twice")
    paid = tuple(
        PsbtOutput(one.amount_sats, one.script, address_of(one.script, network), one.script in own_scripts)
        for one in unsigned.outputs
    )
    amounts = [one.amount_sats for one in found if one.amount_sats is not None]
    fee = sum(amounts) - sum(one.amount_sats for one in paid) if len(amounts) == len(found) else None
    if fee is not None and fee < 0:
        raise _bad("pays more than it spends")
    if sum(one.amount_sats for one in paid) > MAX_SATS:
        raise _bad("pays more than there is")
    version = _V2 if not unsigned.given else _V0
    return Psbt(unsigned.txid[::-1].hex(), version, unsigned.locktime, found, paid, fee)


@dataclass(frozen=True, slots=True)
class _Unsigned:
    txid: bytes
    locktime: int
    spent: tuple[tuple[bytes, int, int], ...]
    outputs: tuple[Output, ...]
    given: bool
    """As a whole transaction (version 0), or put together from its parts (version 2)."""


def _parts(reader: Reader) -> tuple[_Unsigned, list[Fields]]:
    head = _fields(reader)
    version = _number(head, _VERSION, 4, 0)
    if version == _V0:
        _forbid(head, _ONLY_V2)
        transaction = read_transaction(_required(head, _UNSIGNED), "psbt", witness=False)
        if any(one.script_sig for one in transaction.inputs):
            raise _bad("holds a transaction that is signed already")
        counts = len(transaction.inputs), len(transaction.outputs)
    elif version == _V2:
        _forbid(head, _ONLY_V0)
        transaction = None
        counts = _count(head, _INPUTS), _count(head, _OUTPUTS)
    else:
        raise _bad(f"is of version {version}; 0 and 2 are known")
    if not all(0 < count <= MAX_PARTS for count in counts):
        raise _bad(f"has 1 to {MAX_PARTS} inputs and outputs")
    inputs, outputs = [_fields(reader) for _ in range(counts[0])], [_fields(reader) for _ in range(counts[1])]
    reader.end()
    if transaction is None:
        return _assembled(head, inputs, outputs), inputs
    for fields in inputs:
        _forbid(fields, _IN_V2)
    for fields in outputs:
        _forbid(fields, _OUT_V2)
    return _given(transaction), inputs


def _given(transaction: Transaction) -> _Unsigned:
    spent = tuple((one.txid, one.vout, one.sequence) for one in transaction.inputs)
    return _Unsigned(transaction.txid, transaction.locktime, spent, transaction.outputs, given=True)


def _assembled(head: Fields, inputs: list[Fields], outputs: list[Fields]) -> _Unsigned:
    """Put the transaction of a version 2 PSBT together."""
    if any(not _OWN_LOCKS.isdisjoint(one) for one in inputs):
        raise _bad("has inputs that ask for a lock of their own; this is not read")
    spent = tuple(
        (_sized(one, _TXID, _HASH), _number(one, _INDEX, 4, None), _number(one, _SEQUENCE, 4, _FINAL)) for one in inputs
    )
    paid = tuple(Output(_sats(_number(one, _AMOUNT, 8, None)), _required(one, _SCRIPT)) for one in outputs)
    locktime = _number(head, _LOCKTIME, 4, 0)
    version = _number(head, _TX_VERSION, 4, None)
    transaction = Transaction.assembled(version, spent, paid, locktime)
    return _Unsigned(transaction.txid, locktime, spent, paid, given=False)


def _input(unsigned: _Unsigned, index: int, fields: Fields, network: Network, own: frozenset[bytes]) -> PsbtInput:
    txid, vout, sequence = unsigned.spent[index]
    coin, proven = _coin(fields, txid, vout)
    script = None if coin is None else coin.script
    return PsbtInput(
        txid=txid[::-1].hex(),
        vout=vout,
        sequence=sequence,
        amount_sats=None if coin is None else coin.amount_sats,
        script=script,
        address=None if script is None else address_of(script, network),
        proven=proven,
        ours=script is not None and script in own,
        sighash=_number(fields, _SIGHASH, 4, -1) if _SIGHASH in fields else None,
    )


def _coin(fields: Fields, txid: bytes, vout: int) -> tuple[Output | None, bool]:
    """Return the output that an input spends, and whether it is proven."""
    told = _witness_output(fields[_WITNESS_UTXO]) if _WITNESS_UTXO in fields else None
    if _PREVIOUS not in fields:
        return told, told is not None and _is_taproot(told.script)
    previous = read_transaction(fields[_PREVIOUS], "psbt", witness=True)
    if previous.txid != txid or vout >= len(previous.outputs):
        raise _bad("tells a previous transaction that is not the one it spends")
    proven = previous.outputs[vout]
    if told is not None and told != proven:
        raise _bad("tells two amounts or scripts for one input")
    return proven, True


def _witness_output(raw: bytes) -> Output:
    reader = Reader(raw, "psbt")
    found = reader.output()
    reader.end()
    return found


def _is_taproot(script: bytes) -> bool:
    return len(script) == _HASH + 2 and script[:2] == b"\x51\x20"


def _fields(reader: Reader) -> Fields:
    found: Fields = {}
    while key := reader.counted():
        if key in found:
            raise _bad("has a key twice")
        found[key] = reader.counted()
    return found


def _forbid(fields: Fields, keys: frozenset[bytes]) -> None:
    if not keys.isdisjoint(fields):
        raise _bad("has fields of another version")


def _required(fields: Fields, key: bytes) -> bytes:
    if key not in fields:
        raise _bad(f"lacks field 0x{key.hex()}")
    return fields[key]


def _count(head: Fields, key: bytes) -> int:
    return Reader(_required(head, key), "psbt").whole_count()


def _sized(fields: Fields, key: bytes, size: int) -> bytes:
    found = _required(fields, key)
    if len(found) != size:
        raise _bad(f"field 0x{key.hex()} has {size} bytes")
    return found


def _number(fields: Fields, key: bytes, size: int, default: int | None) -> int:
    if key not in fields and default is not None:
        return default
    return int.from_bytes(_sized(fields, key, size), "little")


def _sats(amount: int) -> int:
    if amount > MAX_SATS:
        raise _bad("pays more than there is")
    return amount


def digest_of(psbt: Psbt) -> bytes:
    """Return SHA-256 of what a PSBT would do: coins, payments and locktime, whatever is signed of it already."""
    coins = "|".join(f"{one.txid}:{one.vout}:{one.sequence}" for one in psbt.inputs)
    paid = "|".join(f"{one.amount_sats}:{one.script.hex()}" for one in psbt.outputs)
    return hashlib.sha256(f"portcullis/psbt/v1\0{psbt.locktime}\0{coins}\0{paid}".encode()).digest()


def _bad(problem: str) -> Exception:
    return bad("psbt", problem)
