"""A sweep as a PSBT: written, checked as if an enemy had sent it, signed elsewhere, put together (BIP-174, BIP-371).

Rules: what is signed is decided by the draft, never by the PSBT: one that comes back is compared with the draft byte for
byte, so a foreign input, another output or another amount is refused with its name, and only its signatures are taken.
Every signature is verified before it is used; fewer than the wallet asks for is an error that says how many are lacking. An
input of version 0 (wsh, wpkh) is signed with SIGHASH_ALL (BIP-143), a taproot one, by its leaf or by its key, with the
default type (BIP-341, BIP-342).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from embit import ec, psbt
from embit.base import EmbitError
from embit.bip32 import parse_path
from embit.psbt import PSBT, DerivationPath
from embit.script import Script, Witness
from embit.transaction import Transaction, TransactionInput, TransactionOutput

from service.domain.bitcoin.coins import Coin, Outpoint, parsed, spends
from service.domain.bitcoin.descriptor import LEAF_VERSION, Descriptor, Place
from service.domain.bitcoin.sweep import REPLACEABLE, Draft, vsize
from service.domain.errors import InputError

MAX_PSBT_BYTES: Final = 40_000_000
MAX_PREVIOUS: Final = 4_000_000
"""Bytes of the transactions that made the coins; over it they are left out, as segwit allows, so that dust fills no disk."""
ALL: Final = 1
_SCHNORR_BYTES: Final = 64
_TAP_KEY_SIG: Final = b"\x13"
"""PSBT_IN_TAP_KEY_SIG (BIP-371), which the library keeps among what it does not know."""


@dataclass(frozen=True, slots=True, order=True)
class Signature:
    """One key's signature of one input, as it stands in the witness without the type of hash."""

    input: int
    key: bytes
    """As `Place.keys` has it."""
    value: bytes
    """DER (BIP-66), or 64 bytes (BIP-340)."""


class Unsigned:
    """A draft as a transaction: what every key signs."""

    def __init__(self, descriptor: Descriptor, draft: Draft) -> None:
        self.descriptor = descriptor
        self.draft = draft

    @cached_property
    def transaction(self) -> Any:
        """The library's transaction without witnesses: version 2, no lock time, every input replaceable."""
        inputs = [TransactionInput(bytes.fromhex(c.at.txid), c.at.vout, sequence=REPLACEABLE) for c in self.draft.coins]
        return Transaction(2, inputs, [TransactionOutput(self.draft.amount, Script(self.draft.to))])

    @property
    def txid(self) -> str:
        """Its id, which signatures do not change (BIP-141)."""
        return str(self.transaction.txid().hex())

    def digest(self, number: int) -> bytes:
        """Return the 32 bytes that input `number`'s keys sign."""
        coin = self.draft.coins[number]
        if not self.descriptor.kind.is_taproot:
            return bytes(self.transaction.sighash_segwit(number, Script(coin.place.script), coin.amount, ALL))
        leaf = {"ext_flag": 1, "script": Script(coin.place.script)} if coin.place.script else {}
        spent = [Script(c.place.script_pubkey) for c in self.draft.coins]
        return bytes(
            self.transaction.sighash_taproot(number, spent, [c.amount for c in self.draft.coins], **leaf),
        )

    def verify(self, signature: Signature) -> None:
        """Raise InputError unless a key of the input made this signature of it."""
        if not 0 <= signature.input < len(self.draft.coins):
            raise InputError(f"there is no input {signature.input}", field="signature")
        place = self.draft.coins[signature.input].place
        if signature.key not in place.keys:
            raise InputError(
                f"input {signature.input}: a signature of a key that is not the wallet's", field="signature"
            )
        if not self._is_good(signature):
            owner = place.keys[signature.key].fingerprint
            raise InputError(
                f"input {signature.input}: the signature of key {owner} does not verify", field="signature"
            )

    def whole(self, signatures: Iterable[Signature]) -> bytes:
        """Return the transaction with its witnesses, to be sent.

        Raises InputError for a signature that does not verify, and when an input has too few.
        """
        given: dict[int, dict[bytes, bytes]] = {}
        for one in signatures:
            self.verify(one)
            given.setdefault(one.input, {})[one.key] = one.value
        transaction = parsed(self.transaction.serialize())
        for number in range(len(self.draft.coins)):
            transaction.vin[number].witness = Witness(self._witness(number, given.get(number, {})))
        return bytes(transaction.serialize())

    def _witness(self, number: int, made: Mapping[bytes, bytes]) -> list[bytes]:
        place, threshold = self.draft.coins[number].place, self.descriptor.threshold
        if len(made) < threshold:
            raise InputError(
                f"input {number} has {len(made)} of {threshold} signatures: {threshold - len(made)} more are needed",
                field="signature",
            )
        chosen = dict(sorted(made.items())[:threshold])
        if self.descriptor.kind.is_taproot:
            # The last key's signature comes first: the script takes them from the top of the stack.
            return [*(chosen.get(key, b"") for key in sorted(place.keys, reverse=True)), *place.shown]
        # CHECKMULTISIG takes one item too many from the stack (BIP-147): an empty one.
        extra = [] if self.descriptor.kind.is_single else [b""]
        return [*extra, *(value + bytes([ALL]) for _, value in sorted(chosen.items())), *place.shown]

    def _is_good(self, signature: Signature) -> bool:
        digest = self.digest(signature.input)
        try:
            if not self.descriptor.kind.is_taproot:
                return bool(ec.PublicKey.parse(signature.key).verify(ec.Signature.parse(signature.value), digest))
            if len(signature.value) != _SCHNORR_BYTES:
                return False
            key = ec.PublicKey.from_xonly(signature.key)
            return bool(key.schnorr_verify(ec.SchnorrSig.parse(signature.value), digest))
        except (EmbitError, ValueError):
            return False


def write(unsigned: Unsigned, signatures: Iterable[Signature] = ()) -> bytes:
    """Return the PSBT (version 0) with everything that another signer's device wants to see."""
    made = list(signatures)
    whole = sum(len(coin.made_by) for coin in unsigned.draft.coins) <= MAX_PREVIOUS
    found = PSBT(parsed(unsigned.transaction.serialize()))
    for number, coin in enumerate(unsigned.draft.coins):
        scope = found.inputs[number]
        if whole:
            scope.non_witness_utxo = parsed(coin.made_by)
        scope.witness_utxo = TransactionOutput(coin.amount, Script(coin.place.script_pubkey))
        if unsigned.descriptor.kind.is_taproot:
            _describe_tr(scope, coin)
        else:
            _describe_v0(scope, coin, unsigned.descriptor)
        for one in (s for s in made if s.input == number):
            if not unsigned.descriptor.kind.is_taproot:
                scope.partial_sigs[ec.PublicKey.parse(one.key)] = one.value + bytes([ALL])
            elif coin.place.script:
                scope.taproot_sigs[(ec.PublicKey.from_xonly(one.key), coin.place.leaf_hash)] = one.value
            else:
                # A mapping of its own: the library's default is one that all inputs of the process share.
                scope.unknown = {_TAP_KEY_SIG: one.value}
    return bytes(found.serialize())


def read(raw: bytes, unsigned: Unsigned) -> tuple[Signature, ...]:
    """Return the signatures of a PSBT that came back.

    Raises InputError when it is not this very sweep: a foreign input, another output, another amount; or when a signature
    does not verify or is of another type.
    """
    found = _parsed(raw)
    _require_same(found.tx, unsigned)
    made: list[Signature] = []
    for number, (scope, coin) in enumerate(zip(found.inputs, unsigned.draft.coins, strict=True)):
        made.extend(_signatures(number, scope, coin))
    for one in made:
        unsigned.verify(one)
    return tuple(sorted(set(made)))


def _require_same(transaction: Any, unsigned: Unsigned) -> None:
    known = {coin.at for coin in unsigned.draft.coins}
    told = spends(transaction)
    foreign = sorted(set(told) - known)
    if foreign:
        raise InputError(f"input {foreign[0].text} is not a coin of this sweep: a foreign input", field="psbt")
    if len(told) != len(known) or len(set(told)) != len(told):
        raise InputError("the PSBT spends some coins of this sweep twice or not at all", field="psbt")
    for output in transaction.vout:
        if bytes(output.script_pubkey.data) != unsigned.draft.to:
            raise InputError("an output of the PSBT does not go to the safe destination", field="psbt")
    if transaction.serialize() != unsigned.transaction.serialize():
        raise InputError(
            "the PSBT's amount, order, version or lock time differs from the sweep that we made", field="psbt"
        )


def _signatures(number: int, scope: Any, coin: Coin) -> Iterable[Signature]:
    for key, value in scope.partial_sigs.items():
        if not value or value[-1] != ALL:
            raise InputError(f"input {number}: a signature that does not bind the whole transaction", field="psbt")
        yield Signature(number, bytes(key.sec()), bytes(value[:-1]))
    for (key, leaf), value in scope.taproot_sigs.items():
        if leaf != coin.place.leaf_hash or len(value) != _SCHNORR_BYTES:
            raise InputError(f"input {number}: a signature of another script or type", field="psbt")
        yield Signature(number, bytes(key.xonly()), bytes(value))
    if _TAP_KEY_SIG in scope.unknown:
        yield _by_key(number, coin.place, bytes(scope.unknown[_TAP_KEY_SIG]))


def _by_key(number: int, place: Place, value: bytes) -> Signature:
    if not place.internal or place.script or len(value) != _SCHNORR_BYTES:
        raise InputError(f"input {number}: a signature of another script or type", field="psbt")
    (key,) = place.keys
    return Signature(number, key, value)


def _describe_v0(scope: Any, coin: Coin, descriptor: Descriptor) -> None:
    if not descriptor.kind.is_single:
        scope.witness_script = Script(coin.place.script)
    for key, owner in coin.place.keys.items():
        scope.bip32_derivations[ec.PublicKey.parse(key)] = _path(owner.fingerprint, owner.path, coin)


def _describe_tr(scope: Any, coin: Coin) -> None:
    place = coin.place
    scope.taproot_internal_key = ec.PublicKey.from_xonly(place.internal)
    leaves = [place.leaf_hash] if place.script else []
    if place.script:
        script, control = place.shown
        scope.taproot_merkle_root = place.leaf_hash
        scope.taproot_scripts[control] = script + bytes([LEAF_VERSION])
    for key, owner in place.keys.items():
        # BIP-371 names the owner's key as he derives it: without a script that is the internal one.
        known = ec.PublicKey.from_xonly(key if place.script else place.internal)
        scope.taproot_bip32_derivations[known] = (leaves, _path(owner.fingerprint, owner.path, coin))


def _path(fingerprint: str, path: str, coin: Coin) -> psbt.DerivationPath:
    steps = [*parse_path(path), coin.place.branch, coin.place.index]
    return DerivationPath(bytes.fromhex(fingerprint), steps)


def txid_in(raw: bytes) -> str:
    """Return the id of a PSBT's transaction. Raises InputError."""
    return str(_parsed(raw).tx.txid().hex())


def spent_in(raw: bytes) -> frozenset[Outpoint]:
    """Return the outputs that a PSBT's transaction spends. Raises InputError."""
    return frozenset(spends(_parsed(raw).tx))


def read_kept(
    raw: bytes, descriptor: Descriptor, coins: Mapping[Outpoint, Coin], to: bytes
) -> tuple[Unsigned, tuple[Signature, ...]]:
    """Return what a PSBT of ours that was kept is a draft of, and its signatures.

    Raises InputError when it spends anything but these coins or pays anything but `to`, and as `read`.
    """
    transaction = _parsed(raw).tx
    names = spends(transaction)
    if not names or len(transaction.vout) != 1 or not set(names) <= set(coins):
        raise InputError("the PSBT is no sweep of these coins", field="psbt")
    mine, amount = tuple(coins[at] for at in names), int(transaction.vout[0].value)
    made = Draft(mine, to, amount, sum(coin.amount for coin in mine) - amount, vsize(descriptor, mine, to))
    unsigned = Unsigned(descriptor, made)
    return unsigned, read(raw, unsigned)


def _parsed(raw: bytes) -> Any:
    if not 0 < len(raw) <= MAX_PSBT_BYTES:
        raise InputError(f"a PSBT has 1 to {MAX_PSBT_BYTES} bytes", field="psbt")
    try:
        found = PSBT.parse(raw)
        found.tx.txid()
    except Exception:  # noqa: BLE001  an untyped parser of hostile bytes: whatever it raises, they are no PSBT
        raise InputError("the bytes are no PSBT (BIP-174)", field="psbt") from None
    return found
