"""Descriptors of wallets: read strictly, derived, re-keyed (BIP-380, BIP-382, BIP-383, BIP-386, BIP-387, BIP-389).

Rules: exactly four forms, of several keys `wsh(sortedmulti(k,…))` and `tr(H,sortedmulti_a(k,…))`, of one key `wpkh(key)`
(BIP-84) and `tr(key)` (BIP-86), whose keys are extended public keys with their origin and both branches:
`[fingerprint/path]xpub/<0;1>/*`. A wrong checksum is an error, a missing one is not. The internal key of the taproot form
of several keys is BIP-341's point H, for which nobody has a private key, so that the script is the only way to spend and
everybody can see it; that of one key has no script, so that its key is the only way. Keys are kept in the order of their
text: two writings of one wallet are equal. No key stands there twice, and a private key is refused without being shown.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, Final, cast

from embit import bip32
from embit import descriptor as library
from embit.base import EmbitError
from embit.descriptor.checksum import checksum
from embit.hashes import tagged_hash
from embit.script import Script
from embit.util import secp256k1 as _library_of_curve

from service.domain.bitcoin.network import Network
from service.domain.errors import InputError

H: Final = "50929b74c1a04954b78b4b6035e97a5e078a5a0f28ec96d547bfee9ace803ac0"
"""x of the point that BIP-341 ("Constructing and spending Taproot outputs") names as having no known logarithm."""
MAX_KEYS: Final = 15
MAX_TEXT: Final = 4_000
MAX_INDEX: Final = 2**31 - 1
RECEIVE: Final = 0
CHANGE: Final = 1
LEAF_VERSION: Final = 0xC0
"""Of tapscript (BIP-342)."""
_KEY: Final = r"\[([0-9a-f]{8})((?:/[0-9]{1,10}[h']?){0,9})\]([xt]pub[1-9A-HJ-NP-Za-km-z]{107,108})/<0;1>/\*"
_ONE_KEY: Final = re.compile(_KEY, re.ASCII)
_PRIVATE: Final = re.compile(r"[xt]prv[1-9A-HJ-NP-Za-km-z]", re.ASCII)
_SUM: Final = r"(?:#(?P<sum>[a-z0-9]{8}))?"
_SEVERAL: Final = rf"(?P<k>[1-9][0-9]?)(?P<keys>(?:,[^,()#]{{1,300}}){{1,{MAX_KEYS}}})"
_ALONE: Final = r"(?P<keys>[^,()#]{1,300})"
_CODE_OF_KEY_HASH: Final = b"\x76\xa9\x14", b"\x88\xac"
"""What stands around a key's hash in the script that its signature commits to (BIP-143, "P2WPKH")."""
# The library ships no types; its curve is libsecp256k1's.
_secp: Any = cast("Any", _library_of_curve)


class Kind(StrEnum):
    """How the wallet's outputs are locked."""

    WSH = "wsh"
    TR = "tr"
    WPKH = "wpkh"
    TR_KEY = "tr_key"

    @property
    def is_single(self) -> bool:
        """Whether one key is the whole wallet."""
        return self in {Kind.WPKH, Kind.TR_KEY}

    @property
    def is_taproot(self) -> bool:
        """Whether its signatures are Schnorr's (BIP-340), else ECDSA."""
        return self in {Kind.TR, Kind.TR_KEY}


_AROUND: Final[Mapping[Kind, tuple[str, str]]] = {
    Kind.WSH: ("wsh(sortedmulti(", "))"),
    Kind.TR: (f"tr({H},sortedmulti_a(", "))"),
    Kind.WPKH: ("wpkh(", ")"),
    Kind.TR_KEY: ("tr(", ")"),
}
"""What stands in a descriptor before its keys and after them."""
_WHOLE: Final = {
    kind: re.compile(re.escape(before) + (_ALONE if kind.is_single else _SEVERAL) + re.escape(after) + _SUM, re.ASCII)
    for kind, (before, after) in _AROUND.items()
}


@dataclass(frozen=True, slots=True, order=True)
class Cosigner:
    """One key of the wallet: an extended public key and where its owner derived it."""

    fingerprint: str
    """Of the owner's master key, 8 hexadecimal digits."""
    path: str
    """BIP-32 path from that master key, `m/48h/0h/0h/2h`."""
    xpub: str

    @classmethod
    def of(cls, fingerprint: str, path: str, xpub: str, network: Network) -> "Cosigner":
        """Return a key with its extended key written for `network`: whoever derived it need not know the network."""
        try:
            key = bip32.HDKey.from_base58(xpub)
        except (EmbitError, ValueError, IndexError):
            raise InputError(f"the extended key of {fingerprint} is not valid (BIP-32)", field="key") from None
        key.version = network.xpub_version
        return cls.parse(f"[{fingerprint}{path[1:]}]{key.to_base58()}/<0;1>/*", network)

    @property
    def text(self) -> str:
        """The key expression with both branches."""
        return f"[{self.fingerprint}{self.path[1:]}]{self.xpub}/<0;1>/*"

    @classmethod
    def parse(cls, text: str, network: Network) -> "Cosigner":
        """Read one key expression. Raises InputError; a private key is refused unseen."""
        if _PRIVATE.search(text):
            raise InputError("a descriptor for watching holds public keys only: a private key was given", field="key")
        found = _ONE_KEY.fullmatch(text)
        if found is None:
            raise InputError("a key is written [fingerprint/path]xpub/<0;1>/* (BIP-380, BIP-389)", field="key")
        key = cls(found[1], "m" + found[2].replace("'", "h"), found[3])
        key.extended(network)
        return key

    def extended(self, network: Network) -> Any:
        """Return the library's extended key. Raises InputError for a wrong checksum, curve point or network."""
        try:
            key = bip32.HDKey.from_base58(self.xpub)
        except (EmbitError, ValueError, IndexError):
            raise InputError(f"the extended key of {self.fingerprint} is not valid (BIP-32)", field="key") from None
        if bytes(key.version) != network.xpub_version:
            raise InputError(f"the extended key of {self.fingerprint} is not one of {network.name}", field="key")
        return key


@dataclass(frozen=True, slots=True)
class Place:
    """One address of a wallet: what its outputs look like and what spending them takes."""

    branch: int
    index: int
    script_pubkey: bytes
    script: bytes
    """What a signature commits to: the witness script (BIP-141), a key hash's code (BIP-143), or the one leaf of the script
    tree (BIP-342); empty where the output's key signs alone (BIP-341, key path)."""
    shown: tuple[bytes, ...]
    """What a witness holds after the signatures: script, script and control block, public key, or nothing."""
    internal: bytes
    """The taproot output's internal key, 32 bytes x-only; empty for other outputs."""
    keys: Mapping[bytes, Cosigner]
    """Public key that a signature is verified with (33 bytes, or 32 x-only) → whose it is. For `tr(key)` it is the output's
    key, which the owner's is after BIP-86's tweak."""

    @property
    def leaf_hash(self) -> bytes:
        """The leaf's hash that a signature commits to (BIP-342)."""
        return bytes(tagged_hash("TapLeaf", bytes([LEAF_VERSION]) + Script(self.script).serialize()))


@dataclass(frozen=True, slots=True)
class _Lock:
    """`Place` without where it is and whose its keys are."""

    script: bytes
    shown: tuple[bytes, ...]
    internal: bytes
    points: tuple[bytes, ...]


@dataclass(frozen=True)
class Descriptor:
    """A k-of-n wallet on one network. Made by `parse` or `of`, which check it."""

    kind: Kind
    threshold: int
    keys: tuple[Cosigner, ...]
    network: Network

    @classmethod
    def of(cls, kind: Kind, threshold: int, keys: tuple[Cosigner, ...], network: Network) -> "Descriptor":
        """Return the wallet of these keys in the order of their text. Raises InputError."""
        if kind.is_single and len(keys) != 1:
            raise InputError(f"a wallet of kind {kind.value} has one key, not {len(keys)}", field="key")
        if not 1 <= threshold <= len(keys) <= MAX_KEYS:
            raise InputError(
                f"a wallet has 1 to {MAX_KEYS} keys and asks for at least one, at most all", field="threshold"
            )
        points = {bytes(key.extended(network).key.sec()) for key in keys}
        if len(points) != len(keys):
            raise InputError("a key stands in the wallet twice: whoever has it would count twice", field="key")
        return cls(kind, threshold, tuple(sorted(keys)), network)

    @classmethod
    def parse(cls, text: str, network: Network) -> "Descriptor":
        """Read a descriptor. Raises InputError that says what is wrong."""
        form = _form(text) if len(text) <= MAX_TEXT else None
        if _PRIVATE.search(text[:MAX_TEXT]):
            raise InputError(
                "a descriptor for watching holds public keys only: a private key was given", field="descriptor"
            )
        if form is None:
            raise InputError(
                "a descriptor is wsh(sortedmulti(k,keys)), tr(H,sortedmulti_a(k,keys)) with BIP-341's H, wpkh(key) or"
                " tr(key)",
                field="descriptor",
            )
        kind, found = form
        if found["sum"] is not None and found["sum"] != checksum(text.partition("#")[0]):
            raise InputError("the descriptor's checksum is wrong: copy it again (BIP-380)", field="descriptor")
        keys = tuple(Cosigner.parse(key, network) for key in found["keys"].removeprefix(",").split(","))
        return cls.of(kind, 1 if kind.is_single else int(found["k"]), keys, network)

    @property
    def text(self) -> str:
        """The descriptor with its checksum."""
        needed = () if self.kind.is_single else (str(self.threshold),)
        before, after = _AROUND[self.kind]
        body = before + ",".join((*needed, *(key.text for key in self.keys))) + after
        return f"{body}#{checksum(body)}"

    def place(self, branch: int, index: int) -> Place:
        """Return one address; `branch` is 0 (receive) or 1 (change). Raises InputError out of range."""
        if branch not in (RECEIVE, CHANGE) or not 0 <= index <= MAX_INDEX:
            raise InputError("an address is at branch 0 or 1 and index 0 to 2^31-1", field="index")
        derived = self._library.derive(index, branch)
        lock = _LOCK[self.kind](derived)
        keys = dict(zip(lock.points, self.keys, strict=True))
        script_pubkey = bytes(derived.script_pubkey().data)
        return Place(branch, index, script_pubkey, lock.script, lock.shown, lock.internal, keys)

    def address(self, branch: int, index: int) -> str:
        """Return one address as text."""
        return str(Script(self.place(branch, index).script_pubkey).address(self.network.parameters))

    def rekeyed(self, lost: Cosigner, fresh: Cosigner) -> "Descriptor":
        """Return the wallet with `fresh` in the place of a lost key. Raises InputError when it is not of this wallet."""
        if lost not in self.keys:
            raise InputError(f"the key of {lost.fingerprint} is not of this wallet", field="lost")
        return Descriptor.of(
            self.kind, self.threshold, tuple(fresh if k == lost else k for k in self.keys), self.network
        )

    def named(self, fingerprint: str) -> Cosigner:
        """Return the key of a master fingerprint. Raises InputError when none or several have it."""
        found = [key for key in self.keys if key.fingerprint == fingerprint]
        if len(found) != 1:
            raise InputError(f"{len(found)} keys of the wallet have the fingerprint {fingerprint}", field="fingerprint")
        return found[0]

    @cached_property
    def _library(self) -> Any:
        return library.Descriptor.from_string(self.text.partition("#")[0])


def _form(text: str) -> tuple[Kind, re.Match[str]] | None:
    """Return the kind of a descriptor and its parts, or None where it is of none."""
    return next(((kind, found) for kind, whole in _WHOLE.items() if (found := whole.fullmatch(text))), None)


def _wsh(derived: Any) -> _Lock:
    script = bytes(derived.witness_script().data)
    return _Lock(script, (script,), b"", _points(derived.miniscript.keys))


def _tr(derived: Any) -> _Lock:
    leaf = derived.taptree.tree.miniscript
    script = bytes(leaf.compile())
    return _Lock(script, (script, _control(derived)), bytes.fromhex(H), _points(leaf.keys))


def _wpkh(derived: Any) -> _Lock:
    (point,) = _points([derived.key])
    before, after = _CODE_OF_KEY_HASH
    return _Lock(before + bytes(derived.script_pubkey().data)[2:] + after, (point,), b"", (point,))


def _tr_key(derived: Any) -> _Lock:
    (internal,) = _points([derived.key])
    return _Lock(b"", (), internal, (bytes(derived.script_pubkey().data)[2:],))


_LOCK: Final[Mapping[Kind, Callable[[Any], _Lock]]] = {
    Kind.WSH: _wsh,
    Kind.TR: _tr,
    Kind.WPKH: _wpkh,
    Kind.TR_KEY: _tr_key,
}


def _points(keys: Any) -> tuple[bytes, ...]:
    """Return keys as their form writes them: 33 bytes, or 32 x-only for taproot."""
    return tuple(bytes(one.serialize()) for one in keys)


def _control(derived: Any) -> bytes:
    """Return the control block of the only leaf: its version with the output key's parity, then the internal key."""
    internal = bytes.fromhex(H)
    tweak = tagged_hash("TapTweak", internal + derived.taptree.tweak())
    point = _secp.ec_pubkey_add(_secp.ec_pubkey_parse(b"\x02" + internal), tweak)
    return bytes([LEAF_VERSION | bytes(_secp.ec_pubkey_serialize(point))[0] & 1]) + internal
