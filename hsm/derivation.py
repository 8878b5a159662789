"""Hierarchical deterministic keys (BIP-32) and the addresses of their leaves.

Rules held here:
- Extended keys are parsed strictly: version, length, checksum, key prefix, range, curve membership and the zero-depth
  rules, each of BIP-32's "test vector 5" refusals.
- A private extended key shows only its fingerprint; its text form is asked for by name (`xprv`).
- A hardened child of a public key does not exist and is an error, never a silent public derivation.
- Point arithmetic is libsecp256k1's, through embit; nothing here does curve arithmetic of its own.
Python cannot wipe the copies of a private key that its objects leave behind; `docs/concepts/keys.md` says what follows.
"""

from dataclasses import dataclass
from typing import Any, Final, Self

from embit import base58, bech32, script
from embit.bip32 import HDKey
from embit.ec import ECError, PublicKey
from embit.hashes import hash160
from embit.networks import NETWORKS
from eth_hash.auto import keccak

from hsm import ecdsa
from hsm.custodian import MAX_SEED_BYTES, MIN_SEED_BYTES
from hsm.errors import DerivationError
from hsm.keypath import DerivationPath

SERIALIZED_BYTES: Final = 78
PRIVATE_VERSIONS: Final = {bytes.fromhex("0488ade4"): "main", bytes.fromhex("04358394"): "test"}
PUBLIC_VERSIONS: Final = {bytes.fromhex("0488b21e"): "main", bytes.fromhex("043587cf"): "test"}
MAX_TEXT: Final = 120
_VERSION_OF: Final = {
    (True, "main"): bytes.fromhex("0488ade4"),
    (True, "test"): bytes.fromhex("04358394"),
    (False, "main"): bytes.fromhex("0488b21e"),
    (False, "test"): bytes.fromhex("043587cf"),
}
_UPPER_NIBBLES: Final = frozenset("89abcdef")
"""EIP-55: a letter is upper case where the hash's nibble has its high bit set."""
_HRP: Final = {"main": "bc", "test": "tb", "regtest": "bcrt"}


@dataclass(frozen=True, slots=True, repr=False)
class ExtendedKey:
    """An extended private or public key (BIP-32). Compare by public key and chain code, not by identity."""

    _key: Any

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Return the master key of a seed of 16 to 64 bytes. Raises DerivationError for other lengths."""
        if not MIN_SEED_BYTES <= len(seed) <= MAX_SEED_BYTES:
            raise DerivationError(
                f"a seed has {MIN_SEED_BYTES} to {MAX_SEED_BYTES} bytes, not {len(seed)}", field="seed"
            )
        try:
            return cls(HDKey.from_seed(bytes(seed)))
        except ECError:
            raise DerivationError(
                "this seed has no master key (BIP-32, chance 2^-127): use another", field="seed"
            ) from None

    @classmethod
    def of_public(cls, public_key: bytes, chain_code: bytes, path: DerivationPath, parent: bytes) -> Self:
        """Return the public key at `path` that a token derived; `parent` is its parent's public key, empty at the master.

        Raises DerivationError when the public key is not on the curve.
        """
        number = path.levels[-1].wire if path.levels else 0
        above = hash160(parent)[:4] if parent else bytes(4)
        version = _VERSION_OF[False, "main"]
        key = PublicKey.parse(ecdsa.compressed(public_key))
        return cls(HDKey(key, chain_code, version, len(path.levels), above, number))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read an xprv, xpub, tprv or tpub.

        Raises DerivationError saying which rule it breaks; the text is not shown.
        """
        raw = _base58check(text)
        version, depth, parent, number = raw[:4], raw[4], raw[5:9], raw[9:13]
        private = version in PRIVATE_VERSIONS
        if not private and version not in PUBLIC_VERSIONS:
            raise _bad("its version is not xprv, xpub, tprv or tpub")
        if private != (raw[45] == 0):
            raise _bad("its version and its key prefix contradict each other")
        if depth == 0 and (any(parent) or any(number)):
            raise _bad("a master key (depth 0) has no parent and no child number")
        try:
            return cls(HDKey.parse(raw))
        except (ECError, ValueError):
            raise _bad("its key is outside 1 … n-1 or not on the curve") from None

    @property
    def is_private(self) -> bool:
        """Whether the private key is here."""
        return bool(self._key.is_private)

    @property
    def network(self) -> str:
        """`main` or `test`, from the version bytes."""
        return {**PRIVATE_VERSIONS, **PUBLIC_VERSIONS}[bytes(self._key.version)]

    @property
    def public_key(self) -> bytes:
        """The compressed public key, 33 bytes."""
        return bytes(self._key.sec())

    @property
    def fingerprint(self) -> bytes:
        """The first 4 bytes of HASH160 of the public key."""
        return bytes(hash160(self.public_key)[:4])

    @property
    def secret(self) -> bytes:
        """The private key, 32 bytes. Raises DerivationError on a public key."""
        if not self.is_private:
            raise DerivationError("a public extended key holds no private key", field="key")
        return bytes(self._key.secret)

    def xprv(self) -> str:
        """Return the private text form.

        Whoever reads it owns every key below. Raises DerivationError on a public key.
        """
        if not self.is_private:
            raise DerivationError("a public extended key holds no private key", field="key")
        return str(self._key.to_base58())

    def xpub(self) -> str:
        """Return the public text form."""
        return str(self.neutered()._key.to_base58())  # noqa: SLF001  same class

    def neutered(self) -> "ExtendedKey":
        """Return the public extended key of this one (BIP-32 function N)."""
        return ExtendedKey(self._key.to_public(_VERSION_OF[False, self.network])) if self.is_private else self

    def derive(self, path: DerivationPath) -> "ExtendedKey":
        """Return the descendant at `path`, read relative to this key (CKDpriv, CKDpub).

        Raises DerivationError for a hardened level below a public key.
        """
        key = self._key
        for level in path.levels:
            if level.hardened and not self.is_private:
                raise DerivationError(f"level {level} is hardened: a public key has no such child", field="path")
            try:
                key = key.child(level.wire)
            except ValueError:
                raise DerivationError(
                    f"level {level} has no key (chance 2^-127): take the next index", field="path"
                ) from None
        return ExtendedKey(key)

    def __repr__(self) -> str:
        kind = "private" if self.is_private else "public"
        return f"ExtendedKey({kind}, fingerprint={self.fingerprint.hex()}, depth={self._key.depth})"


def evm_address(public_key: bytes) -> str:
    """Return the checksummed address (EIP-55) of a public key: the last 20 bytes of keccak-256(x ‖ y)."""
    body = keccak(ecdsa.uncompressed(public_key)[1:])[-20:].hex()
    mask = keccak(body.encode()).hex()
    return "0x" + "".join(
        char.upper() if nibble in _UPPER_NIBBLES else char for char, nibble in zip(body, mask, strict=False)
    )


def p2pkh_address(public_key: bytes, network: str = "main") -> str:
    """Return the legacy address of a public key, as under BIP-44, on `main`, `test` or `regtest`."""
    version = NETWORKS[_known(network)]["p2pkh"]
    return str(base58.encode_check(version + hash160(ecdsa.compressed(public_key))))


def p2wpkh_address(public_key: bytes, network: str = "main") -> str:
    """Return the native segwit address (BIP-173, version 0) of a public key, as under BIP-84."""
    return str(bech32.encode(_HRP[_known(network)], 0, hash160(ecdsa.compressed(public_key))))


def p2tr_address(public_key: bytes, network: str = "main") -> str:
    """Return the taproot address (BIP-350, version 1) that a public key spends alone, as under BIP-86."""
    internal = PublicKey.parse(ecdsa.compressed(public_key))
    return str(script.p2tr(internal).address(NETWORKS[_known(network)]))


def _known(network: str) -> str:
    if network not in _HRP:
        raise DerivationError(f"network must be one of {', '.join(_HRP)}", field="network")
    return network


def _base58check(text: str) -> bytes:
    if not 0 < len(text) <= MAX_TEXT:
        raise _bad("its length is wrong")
    try:
        raw = bytes(base58.decode_check(text))
    except (ValueError, IndexError):
        raise _bad("its characters or checksum are wrong") from None
    if len(raw) != SERIALIZED_BYTES:
        raise _bad(f"it decodes to {len(raw)} bytes, not {SERIALIZED_BYTES}")
    return raw


def _bad(why: str) -> DerivationError:
    return DerivationError(f"not a valid extended key: {why} (BIP-32)", field="extended_key")
