"""A custodian in memory, for tests only: keys are plain Python values and anyone with a debugger has them.

Rules held here:
- It refuses to exist unless the caller says in words that this is a test.
- It behaves as the token does where callers can see it: seals bound to the wallet, disabled and destroyed leaves stay
  so, low-S signatures with recovery id, the same error classes.
"""

import hashlib
import os
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed, decode_dss_signature
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hsm import ecdsa, p256, schnorr
from hsm.custodian import AccountPublic, KeyRef, LeafKey, SealedSeed, Signature, require_digest, require_wallet_id
from hsm.derivation import ExtendedKey
from hsm.errors import HsmInputError, KeyNotFoundError, KeyUseRefusedError, SealError
from hsm.keypath import DerivationPath

ACKNOWLEDGEMENT: Final = "keys in memory, for tests only"
_NONCE_BYTES: Final = 12


@dataclass(slots=True)
class _Leaf:
    private: ec.EllipticCurvePrivateKey
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
        self._statement = ec.generate_private_key(ec.SECP256R1())

    def create_wallet(self, wallet_id: str) -> SealedSeed:
        """Draw a 64-byte seed and return it sealed."""
        return self.restore_wallet(wallet_id, os.urandom(64))

    def restore_wallet(self, wallet_id: str, seed: bytes) -> SealedSeed:
        """Seal an existing seed."""
        nonce = os.urandom(_NONCE_BYTES)
        return SealedSeed(nonce + self._seal_key.encrypt(nonce, seed, require_wallet_id(wallet_id).encode()))

    def open_account(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath) -> AccountPublic:
        """Return the account's extended public key."""
        return AccountPublic(self._master(sealed, wallet_id).derive(path).xpub(), path)

    def leaf(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath) -> LeafKey:
        """Keep the private key at `path`, or return the one there."""
        ref = KeyRef(wallet_id, path)
        if ref.label in self._destroyed:
            raise KeyUseRefusedError(f"{ref.label} was destroyed and does not come back: derive another path")
        key = self._master(sealed, wallet_id).derive(path)
        private = ec.derive_private_key(int.from_bytes(key.secret, "big"), ec.SECP256K1())
        stored = self._leaves.setdefault(ref.label, _Leaf(private, key.public_key))
        if stored.public != key.public_key:
            raise KeyUseRefusedError(f"{ref.label} is of another seed: give each wallet its own id")
        return LeafKey(ref, stored.public)

    def sign(self, key: KeyRef, digest: bytes) -> Signature:
        """Sign a 32-byte digest."""
        leaf = self._leaf(key)
        if not leaf.enabled:
            raise KeyUseRefusedError(f"{key.label} is disabled")
        der = leaf.private.sign(require_digest(digest), ec.ECDSA(Prehashed(hashes.SHA256())))
        return ecdsa.finish(_raw(der), digest, leaf.public)

    def sign_taproot(self, sealed: SealedSeed, key: KeyRef, digest: bytes) -> bytes:
        """Sign by BIP-340."""
        if not self._leaf(key).enabled:
            raise KeyUseRefusedError(f"{key.label} is disabled")
        leaf = self._master(sealed, key.wallet_id).derive(key.path)
        return schnorr.sign(leaf.secret, digest, os.urandom(schnorr.AUX_BYTES))

    def public_key(self, key: KeyRef) -> bytes:
        """Return the compressed public key."""
        return self._leaf(key).public

    def exists(self, key: KeyRef) -> bool:
        """Whether the private key is kept."""
        return key.label in self._leaves

    def may_sign(self, key: KeyRef) -> bool:
        """Whether the key is enabled."""
        return self._leaf(key).enabled

    def disable(self, key: KeyRef) -> None:
        """Let the key sign nothing more."""
        self._leaf(key).enabled = False

    def destroy(self, key: KeyRef) -> None:
        """Remove the key for good."""
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

    def _master(self, sealed: SealedSeed, wallet_id: str) -> ExtendedKey:
        nonce, body = sealed.envelope[:_NONCE_BYTES], sealed.envelope[_NONCE_BYTES:]
        try:
            seed = self._seal_key.decrypt(nonce, body, require_wallet_id(wallet_id).encode())
        except (InvalidTag, ValueError):
            raise SealError("the sealed seed was altered or is of another wallet") from None
        return ExtendedKey.from_seed(seed)


def _raw(der: bytes) -> bytes:
    r, s = decode_dss_signature(der)
    return r.to_bytes(32, "big") + s.to_bytes(32, "big")
