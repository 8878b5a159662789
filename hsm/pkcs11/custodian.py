"""The vault: wallet keys in a PKCS#11 token, derived by BIP-32 from seeds that only this token can open.

Rules held here:
- Standard PKCS#11 has no BIP-32, so the seed is sealed by a non-extractable AES key of the token (GCM, additional
  data = wallet id), opened in this process for the one derivation, and the leaf is unwrapped into the token. Seed and
  leaf are in process memory for about a millisecond; `docs/concepts/keys.md` says what that means and `hsm.memory`
  what limits it.
- Envelope v1: `PCW1` ‖ nonce:12 ‖ ciphertext with its 16-byte tag.
- A leaf's label is `wallet_id/path`. A disabled leaf stays disabled and a destroyed one leaves a tombstone, so asking
  for it again never revives it.
- Every signature is checked against the leaf's public key before it is returned (`hsm.ecdsa.finish`).
"""

from typing import Final

import PyKCS11 as P
from cryptography.hazmat.primitives.asymmetric import ec

from hsm import ecdsa, schnorr
from hsm.custodian import (
    MAX_SEED_BYTES,
    MIN_SEED_BYTES,
    AccountPublic,
    KeyRef,
    LeafKey,
    SealedSeed,
    Signature,
    require_digest,
    require_wallet_id,
)
from hsm.derivation import ExtendedKey
from hsm.errors import HsmInputError, KeyNotFoundError, KeyUseRefusedError, SealError, TokenOutcomeUnknownError
from hsm.keypath import DerivationPath
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.keys import ec_point, import_private
from hsm.pkcs11.layout import IMPORT_KEY, SEED_KEY, require_layout
from hsm.pkcs11.session import Handle, Token, TokenSession
from hsm.pkcs11.statements import TokenStatements
from hsm.power import Power

MAGIC: Final = b"PCW1"
NONCE_BYTES: Final = 12
TAG_BITS: Final = 128
NEW_SEED_BYTES: Final = 64
MAX_CACHED_HANDLES: Final = 4096
TOMBSTONE: Final = "destroyed:"
_AAD: Final = b"portcullis/seed/v1\x00"


class TokenCustodian:
    """`KeyCustodian` on the open vault token."""

    def __init__(self, token: Token) -> None:
        with token.session() as session:
            require_layout(session, Power.VAULT)
        self._token = token
        self._found: dict[str, tuple[Handle, bytes]] = {}
        self.statements = TokenStatements(token)

    @classmethod
    def open(cls, config: TokenConfig) -> "TokenCustodian":
        """Log in to the vault token. Raises as `Token.open`, and TokenLayoutError for a token of another power."""
        return cls(Token.open(config))

    def create_wallet(self, wallet_id: str) -> SealedSeed:
        """Draw a 64-byte seed from the token's random generator and return it sealed."""
        with self._token.session() as session:
            return self._seal(session, wallet_id, session.random(NEW_SEED_BYTES))

    def restore_wallet(self, wallet_id: str, seed: bytes) -> SealedSeed:
        """Seal an existing seed of 16-64 bytes, as a ceremony that restores a backup does."""
        if not MIN_SEED_BYTES <= len(seed) <= MAX_SEED_BYTES:
            raise HsmInputError(f"a seed has {MIN_SEED_BYTES} to {MAX_SEED_BYTES} bytes", field="seed")
        with self._token.session() as session:
            return self._seal(session, wallet_id, seed)

    def open_account(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath) -> AccountPublic:
        """Return the account's extended public key."""
        with self._token.session() as session:
            key = self._master(session, sealed, wallet_id).derive(path)
        return AccountPublic(key.xpub(), path)

    def leaf(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath) -> LeafKey:
        """Put the private key at `path` into the token, or return the one there.

        Raises KeyUseRefusedError if destroyed.
        """
        ref = KeyRef(wallet_id, path)
        with self._token.exclusive() as session:
            if session.find(TOMBSTONE + ref.label, P.CKO_DATA):
                raise KeyUseRefusedError(f"{ref.label} was destroyed and does not come back: derive another path")
            key = self._master(session, sealed, wallet_id).derive(path)
            if not session.find(ref.label, P.CKO_PRIVATE_KEY):
                private = ec.derive_private_key(int.from_bytes(key.secret, "big"), ec.SECP256K1())
                import_private(session, IMPORT_KEY, ref.label, private)
            stored = ecdsa.compressed(ec_point(session, ref.label))
        if stored != key.public_key:
            raise KeyUseRefusedError(f"{ref.label} in the token is of another seed: give each wallet its own id")
        return LeafKey(ref, stored)

    def sign(self, key: KeyRef, digest: bytes) -> Signature:
        """Sign a 32-byte digest: low-S, with recovery id, checked against the public key."""
        require_digest(digest)
        with self._token.session() as session:
            handle, public = self._handle(session, key.label)
            try:
                raw = session.sign(handle, P.CKM_ECDSA, digest)
            except KeyNotFoundError:
                # Another process destroyed it, or destroyed and restored it: the label decides, not the handle.
                self._found.pop(key.label, None)
                handle, public = self._handle(session, key.label)
                raw = session.sign(handle, P.CKM_ECDSA, digest)
        return ecdsa.finish(raw, digest, public)

    def sign_taproot(self, sealed: SealedSeed, key: KeyRef, digest: bytes) -> bytes:
        """Sign by BIP-340, which the token cannot: the leaf is derived for this one signature and dropped.

        Whether it may be used is still the token's word: the leaf there must be enabled and not destroyed.
        """
        require_digest(digest)
        with self._token.session() as session:
            if not session.flag(session.one(key.label, P.CKO_PRIVATE_KEY), P.CKA_SIGN):
                raise KeyUseRefusedError(f"{key.label} is disabled")
            leaf = self._master(session, sealed, key.wallet_id).derive(key.path)
            if leaf.public_key != ecdsa.compressed(ec_point(session, key.label)):
                raise KeyUseRefusedError(f"{key.label} in the token is of another seed: give each wallet its own id")
            return schnorr.sign(leaf.secret, digest, session.random(schnorr.AUX_BYTES))

    def public_key(self, key: KeyRef) -> bytes:
        """Return the compressed public key. Raises KeyNotFoundError."""
        with self._token.session() as session:
            return ecdsa.compressed(ec_point(session, key.label))

    def exists(self, key: KeyRef) -> bool:
        """Whether the private key is in the token."""
        with self._token.session() as session:
            return bool(session.find(key.label, P.CKO_PRIVATE_KEY))

    def may_sign(self, key: KeyRef) -> bool:
        """Whether CKA_SIGN is true. Raises KeyNotFoundError."""
        with self._token.session() as session:
            return session.flag(session.one(key.label, P.CKO_PRIVATE_KEY), P.CKA_SIGN)

    def disable(self, key: KeyRef) -> None:
        """Set CKA_SIGN to false; every process sees it at once. Raises KeyNotFoundError."""
        with self._token.exclusive() as session:
            session.write(session.one(key.label, P.CKO_PRIVATE_KEY), [(P.CKA_SIGN, False)])

    def destroy(self, key: KeyRef) -> None:
        """Remove the key for good: first the tombstone, then the private key, then the public one."""
        tombstone = TOMBSTONE + key.label
        with self._token.exclusive() as session:
            if not session.find(tombstone, P.CKO_DATA):
                session.create(
                    [
                        (P.CKA_CLASS, P.CKO_DATA),
                        (P.CKA_TOKEN, True),
                        (P.CKA_PRIVATE, True),
                        (P.CKA_LABEL, tombstone),
                        (P.CKA_VALUE, b"1"),
                    ]
                )
            self._found.pop(key.label, None)
            for object_class in (P.CKO_PRIVATE_KEY, P.CKO_PUBLIC_KEY):
                for handle in session.find(key.label, object_class):
                    session.destroy(handle)

    def close(self) -> None:
        """Log out and close."""
        self._token.close()

    def _handle(self, session: TokenSession, label: str) -> tuple[Handle, bytes]:
        """Return a leaf's handle and public key. Looking one up takes longer the more objects a token holds."""
        found = self._found.get(label)
        if found is None:
            found = session.one(label, P.CKO_PRIVATE_KEY), ecdsa.compressed(ec_point(session, label))
            if len(self._found) >= MAX_CACHED_HANDLES:
                self._found.clear()
            self._found[label] = found
        return found

    def _seal(self, session: TokenSession, wallet_id: str, seed: bytes) -> SealedSeed:
        nonce = session.random(NONCE_BYTES)
        mechanism = P.AES_GCM_Mechanism(nonce, _aad(wallet_id), TAG_BITS)
        sealed = session.encrypt(session.one(SEED_KEY, P.CKO_SECRET_KEY), mechanism, seed)
        return SealedSeed(MAGIC + nonce + sealed)

    def _master(self, session: TokenSession, sealed: SealedSeed, wallet_id: str) -> ExtendedKey:
        body = sealed.envelope[len(MAGIC) :]
        if sealed.envelope[: len(MAGIC)] != MAGIC:
            raise SealError("this is not a wallet seed sealed by this version")
        if not MIN_SEED_BYTES <= len(body) - NONCE_BYTES - TAG_BITS // 8 <= MAX_SEED_BYTES:
            raise SealError("the sealed seed is cut short or too long")
        mechanism = P.AES_GCM_Mechanism(body[:NONCE_BYTES], _aad(wallet_id), TAG_BITS)
        try:
            seed = session.decrypt(session.one(SEED_KEY, P.CKO_SECRET_KEY), mechanism, body[NONCE_BYTES:])
        except TokenOutcomeUnknownError:
            # Opening has no effect to be unsure of; SoftHSM answers CKR_GENERAL_ERROR for a wrong tag.
            raise SealError("the sealed seed was altered, is of another wallet or of another token") from None
        return ExtendedKey.from_seed(seed)


def _aad(wallet_id: str) -> bytes:
    return _AAD + require_wallet_id(wallet_id).encode()
