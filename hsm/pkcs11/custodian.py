"""The vault: wallet keys in a PKCS#11 token, derived by BIP-32 and SLIP-10 from seeds that only this token can open.

Rules held here:
- Standard PKCS#11 has no BIP-32, so the sealed seed (`hsm.pkcs11.seeds`) is opened in this process for the one
  derivation, and the leaf is put into the token (`hsm.pkcs11.leaves`). Seed and leaf are in process memory for about a
  millisecond; `docs/concepts/keys.md` says what that means and `hsm.memory` what limits it. A token that derives by
  itself keeps both inside (`hsm.pkcs11.trees`).
- A leaf's label is `KeyRef.label`. A disabled leaf stays disabled and a destroyed one leaves a tombstone, so asking
  for it again never revives it.
- Every signature is checked against the leaf's public key before it is returned (`hsm.ecdsa.finish`, RFC 8032).
"""

from collections.abc import Sequence
from typing import Final

import PyKCS11 as P

from hsm import ecdsa, ed25519, schnorr
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
)
from hsm.derivation import ExtendedKey
from hsm.errors import HsmInputError, KeyNotFoundError, KeyUseRefusedError
from hsm.keypath import DerivationPath
from hsm.pkcs11 import leaves, seeds, trees
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.layout import require_layout
from hsm.pkcs11.module import TokenInfo
from hsm.pkcs11.session import Handle, Token, TokenSession
from hsm.pkcs11.statements import TokenStatements
from hsm.pkcs11.vendor import dialect_of
from hsm.power import Power

NEW_SEED_BYTES: Final = 64
MAX_CACHED_HANDLES: Final = 4096


class TokenCustodian:
    """`KeyCustodian` on the open vault token."""

    def __init__(self, token: Token) -> None:
        with token.session() as session:
            require_layout(session, Power.VAULT)
        self._token = token
        self._found: dict[str, tuple[Handle, bytes]] = {}
        self._dialect = dialect_of(token.info.manufacturer, token.mechanism_numbers())
        self.statements = TokenStatements(token)

    @classmethod
    def open(cls, config: TokenConfig) -> "TokenCustodian":
        """Log in to the vault token. Raises as `Token.open`, and TokenLayoutError for a token of another power."""
        return cls(Token.open(config))

    def create_wallet(self, wallet_id: str) -> SealedSeed:
        """Return the seed that a ceremony left, or make one of 64 bytes in the token; sealed."""
        with self._token.exclusive() as session:
            kept = seeds.kept_seed(session, wallet_id)
            return kept or trees.new_seed(session, wallet_id, self._dialect, NEW_SEED_BYTES)

    def restore_wallet(self, wallet_id: str, seed: bytes) -> SealedSeed:
        """Seal an existing seed of 16-64 bytes, as a ceremony that restores a backup does."""
        with self._token.session() as session:
            return SealedSeed(seeds.seal_seed(session, wallet_id, seed).envelope, restored=True)

    def open_account(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath) -> AccountPublic:
        """Return the account's extended public key."""
        with self._token.session() as session, trees.opened(session, sealed, wallet_id, self._dialect) as tree:
            return AccountPublic(tree.xpub(path), path)

    def leaf(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath, curve: Curve = Curve.SECP256K1) -> LeafKey:
        """Put the private key at `path` into the token, or return the one there.

        Raises KeyUseRefusedError if destroyed.
        """
        ref = KeyRef(wallet_id, path, curve)
        with self._token.exclusive() as session:
            leaves.require_free(session, [ref])
            with trees.opened(session, sealed, wallet_id, self._dialect) as tree:
                stored = public = tree.public_key(ref)
                found = session.find(ref.label, P.CKO_PRIVATE_KEY)
                if found:
                    stored = leaves.complete(session, found[0], ref, public)
                else:
                    tree.put(ref)
        if stored != public:
            raise KeyUseRefusedError(f"{ref.label} in the token is of another seed: give each wallet its own id")
        return LeafKey(ref, stored)

    def prove(
        self, sealed: SealedSeed, wallet_id: str, paths: Sequence[DerivationPath], digest: bytes
    ) -> tuple[LeafKey, ...]:
        """Let each leaf sign `digest` inside the token and check it; nothing stays there."""
        require_digest(digest)
        if not 0 < len(paths) <= MAX_BATCH:
            raise HsmInputError(f"1 to {MAX_BATCH} leaves are proved at once, not {len(paths)}", field="paths")
        refs = [KeyRef(wallet_id, path) for path in paths]
        with self._token.session() as session:
            leaves.require_free(session, refs)
            there = leaves.find_all(session, refs)
            with trees.opened(session, sealed, wallet_id, self._dialect) as tree:
                proved = []
                for ref in refs:
                    public, held = tree.public_key(ref), there[ref.label]
                    raw = session.sign(held[0], P.CKM_ECDSA, digest) if held else tree.sign_once(ref, digest)
                    ecdsa.finish(raw, digest, public)
                    proved.append(LeafKey(ref, public))
        return tuple(proved)

    def sign(self, key: KeyRef, digest: bytes) -> Signature:
        """Sign a 32-byte digest: low-S, with recovery id, checked against the public key."""
        require_digest(digest)
        raw, public = self._signed(_of_curve(key, Curve.SECP256K1), P.CKM_ECDSA, digest)
        return ecdsa.finish(raw, digest, public)

    def sign_taproot(self, sealed: SealedSeed, key: KeyRef, digest: bytes, *, key_path: bool = False) -> bytes:
        """Sign by BIP-340, which the token cannot: the leaf is derived for this one signature and dropped.

        With `key_path` the leaf signs as its output's key (BIP-86). Whether it may be used is still the token's word: the
        leaf there must be enabled and not destroyed. Raises SealError for a seed that is inside its token, which none of
        them signs with.
        """
        require_digest(digest)
        with self._token.session() as session:
            if not session.flag(session.one(key.label, P.CKO_PRIVATE_KEY), P.CKA_SIGN):
                raise KeyUseRefusedError(f"{key.label} is disabled")
            leaf = ExtendedKey.from_seed(seeds.open_seed(session, sealed, key.wallet_id)).derive(key.path)
            if leaf.public_key != leaves.public_of(session, session.one(key.label, P.CKO_PRIVATE_KEY), key):
                raise KeyUseRefusedError(f"{key.label} in the token is of another seed: give each wallet its own id")
            sign = schnorr.sign_alone if key_path else schnorr.sign
            return sign(leaf.secret, digest, session.random(schnorr.AUX_BYTES))

    def sign_message(self, key: KeyRef, message: bytes) -> bytes:
        """Sign a message with an Ed25519 key, checked against the public key."""
        require_message(message)
        raw, public = self._signed(_of_curve(key, Curve.ED25519), P.CKM_EDDSA, message)
        return ed25519.finish(raw, message, public)

    def public_key(self, key: KeyRef) -> bytes:
        """Return the public key. Raises KeyNotFoundError."""
        with self._token.session() as session:
            return leaves.public_of(session, session.one(key.label, P.CKO_PRIVATE_KEY), key)

    def exists(self, key: KeyRef) -> bool:
        """Whether the private key is in the token."""
        with self._token.session() as session:
            return bool(session.find(key.label, P.CKO_PRIVATE_KEY))

    def may_sign(self, key: KeyRef) -> bool:
        """Whether CKA_SIGN is true. Raises KeyNotFoundError."""
        with self._token.session() as session:
            return session.flag(session.one(key.label, P.CKO_PRIVATE_KEY), P.CKA_SIGN)

    def disable(self, *keys: KeyRef) -> None:
        """Set CKA_SIGN to false; every process sees it at once. A key that is not in the token never comes there."""
        with self._token.exclusive() as session:
            there = leaves.find_all(session, keys)
            leaves.bar(session, [key for key in keys if not there[key.label]])
            for handles in there.values():
                for handle in handles:
                    session.write(handle, [(P.CKA_SIGN, False)])

    def destroy(self, *keys: KeyRef) -> None:
        """Remove the keys for good: first the tombstones, then the private keys."""
        with self._token.exclusive() as session:
            leaves.bar(session, keys)
            for key in keys:
                self._found.pop(key.label, None)
            for object_class in (P.CKO_PRIVATE_KEY, P.CKO_PUBLIC_KEY):
                for handles in leaves.find_all(session, keys, object_class).values():
                    for handle in handles:
                        session.destroy(handle)

    def kept_wallet(self, wallet_id: str) -> SealedSeed | None:
        """Return the seed that a ceremony left for a wallet, or None."""
        with self._token.session() as session:
            return seeds.kept_seed(session, wallet_id)

    def keep_wallet(self, wallet_id: str, sealed: SealedSeed) -> None:
        """Leave a sealed seed in the token, as a ceremony does: the wallet is this seed from now on.

        Repeating it changes nothing; another seed for the same wallet raises HsmInputError. Raises SealError when this
        token cannot open it.
        """
        with self._token.exclusive() as session:
            seeds.open_seed(session, sealed, wallet_id)
            seeds.keep_seed(session, wallet_id, sealed)

    def draw(self, size: int) -> bytes:
        """Return `size` bytes of the token's random generator, for a seed that is backed up before it is sealed."""
        with self._token.session() as session:
            return session.random(size)

    def info(self) -> TokenInfo:
        """Return what the token says of itself."""
        return self._token.info

    def close(self) -> None:
        """Log out and close."""
        self._token.close()

    def _signed(self, key: KeyRef, mechanism: int, data: bytes) -> tuple[bytes, bytes]:
        """Return what the token signed, and the public key to check it with."""
        with self._token.session() as session:
            handle, public = self._handle(session, key)
            try:
                return session.sign(handle, mechanism, data), public
            except KeyNotFoundError:
                # Another process destroyed it, or destroyed and restored it: the label decides, not the handle.
                self._found.pop(key.label, None)
                handle, public = self._handle(session, key)
                return session.sign(handle, mechanism, data), public

    def _handle(self, session: TokenSession, key: KeyRef) -> tuple[Handle, bytes]:
        """Return a leaf's handle and public key. Looking one up takes longer the more objects a token holds."""
        found = self._found.get(key.label)
        if found is None:
            handle = session.one(key.label, P.CKO_PRIVATE_KEY)
            found = handle, leaves.public_of(session, handle, key)
            if len(self._found) >= MAX_CACHED_HANDLES:
                self._found.clear()
            self._found[key.label] = found
        return found


def _of_curve(key: KeyRef, curve: Curve) -> KeyRef:
    if key.curve is not curve:
        raise HsmInputError(f"{key.label} is a key of {key.curve}, not of {curve}", field="key")
    return key
