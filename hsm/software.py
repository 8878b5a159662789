"""A custodian in memory, for tests only: keys are plain Python values and anyone with a debugger has them.

Rules held here:
- It refuses to exist unless the caller says in words that this is a test.
- It behaves as the token does where callers can see it: seals bound to the wallet, disabled and destroyed leaves stay
  so, low-S signatures with recovery id, the same error classes.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hsm import ecdsa, p256, schnorr
from hsm.custodian import (
    MAX_BATCH,
    AccountPublic,
    Curve,
    KeyRef,
    LeafKey,
    SealedSeed,
    Signature,
    require_digest,
    require_message,
    require_wallet_id,
)
from hsm.derivation import ExtendedKey
from hsm.errors import HsmInputError, KeyNotFoundError, KeyUseRefusedError, SealError
from hsm.keypath import DerivationPath
from hsm.slip10 import Ed25519Node

ACKNOWLEDGEMENT: Final = "keys in memory, for tests only"
_NONCE_BYTES: Final = 12


@dataclass(slots=True)
class _Leaf:
    private: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
    public: bytes
    enabled: bool = True


class SoftwareCustodian:
    """`KeyCustodian` and `StatementSigner` in memory."""

    def __init__(self, acknowledgement: str) -> None:
        if acknowledgement != ACKNOWLEDGEMENT:
            raise HsmInputError(
                "the software custodian is for tests: use the vault token, or pass hsm.software.ACKNOWLEDGEMENT",
                field="acknowledgement",
            )
        self._seal_key = AESGCM(AESGCM.generate_key(256))
        self._leaves: dict[str, _Leaf] = {}
        self._destroyed: set[str] = set()
        self.kept: dict[str, SealedSeed] = {}
        """What ceremonies left."""
        self._statement = ec.generate_private_key(ec.SECP256R1())

    def create_wallet(self, wallet_id: str) -> SealedSeed:
        """Return the seed that a ceremony left, or draw a 64-byte one; sealed."""
        return self.kept.get(wallet_id) or SealedSeed(self.restore_wallet(wallet_id, os.urandom(64)).envelope)

    def kept_wallet(self, wallet_id: str) -> SealedSeed | None:
        """Return the seed that a ceremony left for a wallet, or None."""
        return self.kept.get(wallet_id)

    def restore_wallet(self, wallet_id: str, seed: bytes) -> SealedSeed:
        """Seal an existing seed."""
        nonce = os.urandom(_NONCE_BYTES)
        body = self._seal_key.encrypt(nonce, seed, require_wallet_id(wallet_id).encode())
        return SealedSeed(nonce + body, restored=True)

    def open_account(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath) -> AccountPublic:
        """Return the account's extended public key."""
        return AccountPublic(self._master(sealed, wallet_id).derive(path).xpub(), path)

    def leaf(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath, curve: Curve = Curve.SECP256K1) -> LeafKey:
        """Keep the private key at `path`, or return the one there."""
        ref = KeyRef(wallet_id, path, curve)
        self._require_free(ref)
        derived = self._derived(sealed, ref)
        stored = self._leaves.setdefault(ref.label, derived)
        if stored.public != derived.public:
            raise KeyUseRefusedError(f"{ref.label} is of another seed: give each wallet its own id")
        return LeafKey(ref, stored.public)

    def prove(
        self, sealed: SealedSeed, wallet_id: str, paths: Sequence[DerivationPath], digest: bytes
    ) -> tuple[LeafKey, ...]:
        """Let each leaf sign `digest` and check it; nothing is kept."""
        if not 0 < len(paths) <= MAX_BATCH:
            raise HsmInputError(f"1 to {MAX_BATCH} leaves are proved at once, not {len(paths)}", field="paths")
        proved = []
        for path in paths:
            ref = KeyRef(wallet_id, path)
            self._require_free(ref)
            leaf = self._leaves.get(ref.label) or self._derived(sealed, ref)
            _ecdsa(leaf, ref, digest)
            proved.append(LeafKey(ref, leaf.public))
        return tuple(proved)

    def sign(self, key: KeyRef, digest: bytes) -> Signature:
        """Sign a 32-byte digest."""
        return _ecdsa(self._leaf(key), key, digest)

    def sign_message(self, key: KeyRef, message: bytes) -> bytes:
        """Sign a message with an Ed25519 key."""
        leaf = _enabled(self._leaf(key), key)
        if not isinstance(leaf.private, ed25519.Ed25519PrivateKey):
            raise HsmInputError(f"{key.label} is no Ed25519 key", field="key")
        return leaf.private.sign(require_message(message))

    def sign_taproot(self, sealed: SealedSeed, key: KeyRef, digest: bytes, *, key_path: bool = False) -> bytes:
        """Sign by BIP-340."""
        if not self._leaf(key).enabled:
            raise KeyUseRefusedError(f"{key.label} is disabled")
        leaf = self._master(sealed, key.wallet_id).derive(key.path)
        sign = schnorr.sign_alone if key_path else schnorr.sign
        return sign(leaf.secret, digest, os.urandom(schnorr.AUX_BYTES))

    def public_key(self, key: KeyRef) -> bytes:
        """Return the compressed public key."""
        return self._leaf(key).public

    def exists(self, key: KeyRef) -> bool:
        """Whether the private key is kept."""
        return key.label in self._leaves

    def may_sign(self, key: KeyRef) -> bool:
        """Whether the key is enabled."""
        return self._leaf(key).enabled

    def disable(self, *keys: KeyRef) -> None:
        """Let the keys sign nothing more."""
        for key in keys:
            if key.label in self._leaves:
                self._leaves[key.label].enabled = False
            else:
                self._destroyed.add(key.label)

    def destroy(self, *keys: KeyRef) -> None:
        """Remove the keys for good."""
        for key in keys:
            self._destroyed.add(key.label)
            self._leaves.pop(key.label, None)

    def sign_statement(self, statement: bytes) -> bytes:
        """Return the statement key's signature."""
        digest = hashlib.sha256(statement).digest()
        return _raw(self._statement.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256()))))

    def verify_statement(self, statement: bytes, signature: bytes) -> None:
        """Raise StatementError unless the statement key made the signature."""
        p256.verify(self.statement_public_key_pem(), statement, signature)

    def statement_public_key_pem(self) -> bytes:
        """Return the statement key's public half (PEM)."""
        return self._statement.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def _leaf(self, key: KeyRef) -> _Leaf:
        leaf = self._leaves.get(key.label)
        if leaf is None:
            raise KeyNotFoundError(f"there is no key named {key.label}")
        return leaf

    def _require_free(self, ref: KeyRef) -> None:
        if ref.label in self._destroyed:
            raise KeyUseRefusedError(
                f"{ref.label} was destroyed or retired and does not come back: derive another path"
            )

    def _derived(self, sealed: SealedSeed, ref: KeyRef) -> _Leaf:
        if ref.curve is Curve.ED25519:
            node = Ed25519Node.from_seed(self._seed(sealed, ref.wallet_id)).derive(ref.path)
            return _Leaf(ed25519.Ed25519PrivateKey.from_private_bytes(node.secret), node.public_key)
        key = self._master(sealed, ref.wallet_id).derive(ref.path)
        private = ec.derive_private_key(int.from_bytes(key.secret, "big"), ec.SECP256K1())
        return _Leaf(private, key.public_key)

    def _master(self, sealed: SealedSeed, wallet_id: str) -> ExtendedKey:
        return ExtendedKey.from_seed(self._seed(sealed, wallet_id))

    def _seed(self, sealed: SealedSeed, wallet_id: str) -> bytes:
        nonce, body = sealed.envelope[:_NONCE_BYTES], sealed.envelope[_NONCE_BYTES:]
        try:
            return self._seal_key.decrypt(nonce, body, require_wallet_id(wallet_id).encode())
        except (InvalidTag, ValueError):
            raise SealError("the sealed seed was altered or is of another wallet") from None


def _enabled(leaf: _Leaf, key: KeyRef) -> _Leaf:
    if not leaf.enabled:
        raise KeyUseRefusedError(f"{key.label} is disabled")
    return leaf


def _ecdsa(leaf: _Leaf, key: KeyRef, digest: bytes) -> Signature:
    require_digest(digest)
    private = _enabled(leaf, key).private
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise HsmInputError(f"{key.label} is no secp256k1 key", field="key")
    return ecdsa.finish(_raw(private.sign(digest, ec.ECDSA(Prehashed(hashes.SHA256())))), digest, leaf.public)


def _raw(der: bytes) -> bytes:
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
