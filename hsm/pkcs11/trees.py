"""Where the keys of a wallet come from: a seed that is opened in this process, or one that never leaves its token.

Rules held here:
- Both are a `Tree`, so the custodian asks one way whatever the token can. Which it is follows from the wallet's envelope
  (`PCW1` sealed seed, `PCT1` seed inside the token) and, for a new wallet, from what the token can (`vendor.dialect_of`).
- A seed inside the token is a secret key object `wallet-seed:WALLET`, sensitive, not extractable, for derivation only. It
  is backed up by the token's own cloning, by no shares of ours.
- Nodes on the way to a leaf are session objects and destroyed at once.
- What a token says its public key is, is believed only as far as signatures go: each is checked by the caller.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Protocol

import PyKCS11 as P

from hsm import ecdsa
from hsm.custodian import Curve, KeyRef, SealedSeed, require_wallet_id
from hsm.derivation import ExtendedKey
from hsm.errors import HsmInputError, SealError
from hsm.keypath import DerivationPath
from hsm.pkcs11 import leaves, seeds
from hsm.pkcs11.ep11 import derive_ep11
from hsm.pkcs11.keys import ec_point_of
from hsm.pkcs11.luna import derive_thales
from hsm.pkcs11.nodes import Node
from hsm.pkcs11.session import TokenSession
from hsm.pkcs11.vendor import Dialect
from hsm.slip10 import Ed25519Node

INSIDE: Final = b"PCT1"
SEED_LABEL: Final = "wallet-seed:"
SEED_BYTES: Final = 64
_DERIVE: Final = {Dialect.THALES: derive_thales, Dialect.EP11: derive_ep11}


class Tree(Protocol):
    """The keys of one wallet."""

    def xpub(self, path: DerivationPath) -> str:
        """Return the extended public key at a path."""
        ...

    def public_key(self, ref: KeyRef) -> bytes:
        """Return a leaf's public key."""
        ...

    def put(self, ref: KeyRef) -> None:
        """Put a leaf into the token as a token object."""
        ...

    def sign_once(self, ref: KeyRef, digest: bytes) -> bytes:
        """Let a leaf sign a digest without leaving it in the token; return r ‖ s."""
        ...


@contextmanager
def opened(session: TokenSession, sealed: SealedSeed, wallet_id: str, dialect: Dialect | None) -> Iterator[Tree]:
    """Give the keys of a wallet. Raises SealError for an envelope that this token cannot open."""
    if sealed.envelope.startswith(INSIDE):
        if dialect is None or sealed.envelope != _inside(wallet_id, dialect):
            raise SealError("this wallet's seed is inside another token, or of another wallet")
        yield TokenTree(session, wallet_id, dialect)
        return
    seed = seeds.open_seed(session, sealed, wallet_id)
    with leaves.passing(session) as batch:
        yield SeedTree(session, ExtendedKey.from_seed(seed), Ed25519Node.from_seed(seed), batch)


def new_seed(session: TokenSession, wallet_id: str, dialect: Dialect | None, size: int) -> SealedSeed:
    """Return a new wallet's seed: made inside a token that derives by itself, drawn and sealed otherwise."""
    if dialect is None:
        return seeds.seal_seed(session, wallet_id, session.random(size))
    label = SEED_LABEL + require_wallet_id(wallet_id)
    if not session.find(label, P.CKO_SECRET_KEY):
        session.generate_secret(
            P.CKM_GENERIC_SECRET_KEY_GEN,
            [
                (P.CKA_CLASS, P.CKO_SECRET_KEY),
                (P.CKA_KEY_TYPE, P.CKK_GENERIC_SECRET),
                (P.CKA_VALUE_LEN, SEED_BYTES),
                (P.CKA_TOKEN, True),
                (P.CKA_PRIVATE, True),
                (P.CKA_SENSITIVE, True),
                (P.CKA_EXTRACTABLE, False),
                (P.CKA_DERIVE, True),
                (P.CKA_LABEL, label),
            ],
        )
    return SealedSeed(_inside(wallet_id, dialect))


@dataclass(frozen=True, slots=True)
class SeedTree:
    """Keys under a seed that is open in this process."""

    session: TokenSession
    master: ExtendedKey
    edwards: Ed25519Node
    batch: leaves.Leaves
    _known: dict[DerivationPath, ExtendedKey] = field(default_factory=dict, repr=False)
    """What was derived on the way: a batch of leaves has one parent, and each leaf is asked for twice."""

    def xpub(self, path: DerivationPath) -> str:
        """Return the extended public key at a path."""
        return self._derived(path).xpub()

    def public_key(self, ref: KeyRef) -> bytes:
        """Return a leaf's public key."""
        return self._key(ref).public_key

    def put(self, ref: KeyRef) -> None:
        """Put a leaf into the token as a token object."""
        key = self._key(ref)
        self.batch.put(ref, key.secret, key.public_key)

    def sign_once(self, ref: KeyRef, digest: bytes) -> bytes:
        """Let a leaf sign a digest without leaving it in the token."""
        key = self._key(ref)
        return self.batch.sign(ref.label, key.secret, key.public_key, digest)

    def _key(self, ref: KeyRef) -> ExtendedKey | Ed25519Node:
        return self.edwards.derive(ref.path) if ref.curve is Curve.ED25519 else self._derived(ref.path)

    def _derived(self, path: DerivationPath) -> ExtendedKey:
        if not path.levels:
            return self.master
        if path not in self._known:
            self._known[path] = self._derived(path.parent).derive(DerivationPath(path.levels[-1:]))
        return self._known[path]


@dataclass(frozen=True, slots=True)
class TokenTree:
    """Keys under a seed that never leaves its token."""

    session: TokenSession
    wallet_id: str
    dialect: Dialect

    def xpub(self, path: DerivationPath) -> str:
        """Return the extended public key at a path."""
        parent = b"" if not path.levels else self._public(path.parent)[0]
        public, chain_code = self._public(path)
        return ExtendedKey.of_public(public, chain_code, path, parent).xpub()

    def public_key(self, ref: KeyRef) -> bytes:
        """Return a leaf's public key."""
        return self._public(_secp256k1(ref).path)[0]

    def put(self, ref: KeyRef) -> None:
        """Derive a leaf as a token object; its CKA_ID, its public key, follows before anybody can find it to sign."""
        with self._derived(_secp256k1(ref).path, ref.label, kept=True) as node:
            self.session.write(node.private, [(P.CKA_ID, self._point(node))])

    def sign_once(self, ref: KeyRef, digest: bytes) -> bytes:
        """Let a leaf sign a digest without leaving it in the token."""
        with self._derived(_secp256k1(ref).path, ref.label, kept=False) as node:
            return self.session.sign(node.private, P.CKM_ECDSA, digest)

    def _public(self, path: DerivationPath) -> tuple[bytes, bytes]:
        with self._derived(path, "", kept=False) as node:
            return self._point(node), node.chain_code

    def _point(self, node: Node) -> bytes:
        return ecdsa.compressed(ec_point_of(self.session, node.public, "a derived key"))

    @contextmanager
    def _derived(self, path: DerivationPath, label: str, *, kept: bool) -> Iterator[Node]:
        seed = self.session.one(SEED_LABEL + self.wallet_id, P.CKO_SECRET_KEY)
        node = _DERIVE[self.dialect](self.session, seed, path, label, kept)
        try:
            yield node
        finally:
            for handle in (node.public, *(() if kept else (node.private,))):
                self.session.destroy(handle)


def _secp256k1(ref: KeyRef) -> KeyRef:
    if ref.curve is not Curve.SECP256K1:
        raise HsmInputError(
            "Ed25519 leaves come from sealed seeds only: restore this wallet from shares", field="curve"
        )
    return ref


def _inside(wallet_id: str, dialect: Dialect) -> bytes:
    return INSIDE + f"{dialect}:{require_wallet_id(wallet_id)}".encode()
