"""What a custodian of wallet keys does, as Protocols, and the values that cross that border.

Rules held here:
- Pure: no token, no library of one. `hsm.pkcs11.custodian` is the real one; `hsm.software` is for tests.
- A seed is only ever seen sealed; a private key never at all. What leaves is public or a signature.
- `wallet_id` is bound into the seal (AES-GCM additional data), so one wallet's seed cannot be opened as another's.
- ECDSA signatures are low-S (BIP-62 rule 5, EIP-2) and carry the recovery id, so a caller needs no second lookup.
- A secp256k1 key signs 32-byte digests, an Ed25519 key whole messages (RFC 8032): the hash is part of its signature.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Protocol

from hsm.errors import HsmInputError
from hsm.keypath import DerivationPath

WALLET_ID: Final = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,63}", re.ASCII)
DIGEST_BYTES: Final = 32
MIN_SEED_BYTES: Final = 16
MAX_SEED_BYTES: Final = 64
MAX_MESSAGE_BYTES: Final = 64 * 1024
MAX_BATCH: Final = 1000
"""Leaves of one `prove`."""


def require_wallet_id(wallet_id: str) -> str:
    """Return `wallet_id` if it is 1-64 of a-z 0-9 _ .

    : - and starts with a letter or digit; else raise HsmInputError.
    """
    if WALLET_ID.fullmatch(wallet_id) is None:
        raise HsmInputError(
            "a wallet id is 1-64 characters a-z, 0-9, _ . : - and starts alphanumeric", field="wallet_id"
        )
    return wallet_id


def require_digest(digest: bytes) -> bytes:
    """Return `digest` if it has 32 bytes; else raise HsmInputError. A message is hashed by who knows its format."""
    if len(digest) != DIGEST_BYTES:
        raise HsmInputError(f"a digest has {DIGEST_BYTES} bytes, not {len(digest)}", field="digest")
    return digest


def require_message(message: bytes) -> bytes:
    """Return `message` if it has 1 to 65,536 bytes; else raise HsmInputError."""
    if not 0 < len(message) <= MAX_MESSAGE_BYTES:
        raise HsmInputError(f"a message to sign has 1 to {MAX_MESSAGE_BYTES} bytes", field="message")
    return message


class Curve(StrEnum):
    """The curve of a wallet key: which chains it serves and how it is derived."""

    SECP256K1 = "secp256k1"
    """BIP-32: Bitcoin-like and EVM chains."""
    ED25519 = "ed25519"
    """SLIP-10: Solana-like chains."""


@dataclass(frozen=True, slots=True)
class KeyRef:
    """Names one private key in the vault token by a label. It holds no secret."""

    wallet_id: str
    path: DerivationPath
    curve: Curve = Curve.SECP256K1

    def __post_init__(self) -> None:
        require_wallet_id(self.wallet_id)

    @property
    def label(self) -> str:
        """The object label in the token: `treasury/m/84h/0h/0h/0/5`, `treasury/ed25519:m/44h/501h/0h/0h`."""
        curve = "" if self.curve is Curve.SECP256K1 else f"{self.curve}:"
        return f"{self.wallet_id}/{curve}{self.path}"


@dataclass(frozen=True, slots=True)
class SealedSeed:
    """A wallet seed sealed by the token's own AES key. Useless without the token; safe to store and back up.

    `restored`: it came from a backup, so keys under it may have been used before.
    """

    envelope: bytes
    restored: bool = False

    def __repr__(self) -> str:
        return f"SealedSeed({len(self.envelope)} bytes)"


@dataclass(frozen=True, slots=True)
class AccountPublic:
    """The public side of an account: its extended public key (BIP-32 xpub, Base58Check) and its path."""

    xpub: str
    path: DerivationPath


@dataclass(frozen=True, slots=True)
class LeafKey:
    """A leaf and its public key: compressed (33 bytes, SEC 1), or 32 bytes of Ed25519 (RFC 8032)."""

    ref: KeyRef
    public_key: bytes


@dataclass(frozen=True, slots=True)
class Signature:
    """An ECDSA signature over secp256k1: r, s ≤ n/2, and the recovery id v (0 or 1)."""

    r: int
    s: int
    v: int

    def compact(self) -> bytes:
        """Return r ‖ s, 64 bytes big-endian."""
        return self.r.to_bytes(32, "big") + self.s.to_bytes(32, "big")

    def der(self) -> bytes:
        """Return the strict DER form that Bitcoin scripts carry (BIP-66), without a sighash byte."""
        body = b"".join(_der_integer(number) for number in (self.r, self.s))
        return b"\x30" + bytes([len(body)]) + body


def _der_integer(number: int) -> bytes:
    encoded = number.to_bytes(number.bit_length() // 8 + 1, "big")
    return b"\x02" + bytes([len(encoded)]) + encoded


class KeyCustodian(Protocol):
    """Holds wallet keys. Every method may raise HsmError; each says which of its refusals are its own."""

    def create_wallet(self, wallet_id: str) -> SealedSeed:
        """Return the seed that a ceremony left for `wallet_id`, or draw a new 64-byte one in the token; sealed."""
        ...

    def kept_wallet(self, wallet_id: str) -> SealedSeed | None:
        """Return the seed that a ceremony left in this token for `wallet_id`, sealed, or None."""
        ...

    def open_account(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath) -> AccountPublic:
        """Return the public side of the account at `path`. Raises SealError if the seal is not of this wallet."""
        ...

    def leaf(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath, curve: Curve = Curve.SECP256K1) -> LeafKey:
        """Put the private key at `path` into the token, sensitive and non-extractable, or return the one there.

        A leaf that was disabled stays disabled: asking for it again does not revive it. Raises KeyUseRefusedError for
        one that was destroyed, or disabled while it was not in the token; DerivationError for a level of an Ed25519
        path that is not hardened (SLIP-10).
        """
        ...

    def prove(
        self, sealed: SealedSeed, wallet_id: str, paths: Sequence[DerivationPath], digest: bytes
    ) -> tuple[LeafKey, ...]:
        """Let each secp256k1 leaf at `paths` (1-1000) sign `digest` inside the token; return them in that order.

        Every signature is checked against the leaf's public key. Nothing stays in the token: `leaf` puts one there when
        it is needed. Raises KeyUseRefusedError for a leaf that was destroyed or disabled.
        """
        ...

    def sign(self, key: KeyRef, digest: bytes) -> Signature:
        """Sign a 32-byte digest. Raises KeyUseRefusedError if the key is disabled, KeyNotFoundError if absent."""
        ...

    def sign_message(self, key: KeyRef, message: bytes) -> bytes:
        """Sign 1-65,536 bytes with an Ed25519 key (64 bytes, RFC 8032). Raises as `sign`."""
        ...

    def public_key(self, key: KeyRef) -> bytes:
        """Return the public key as in LeafKey. Raises KeyNotFoundError."""
        ...

    def exists(self, key: KeyRef) -> bool:
        """Whether the private key is in the token."""
        ...

    def may_sign(self, key: KeyRef) -> bool:
        """Whether the token lets the key sign (CKA_SIGN). Raises KeyNotFoundError."""
        ...

    def disable(self, *keys: KeyRef) -> None:
        """Let the keys sign nothing more (CKA_SIGN = false). Repeating it changes nothing.

        One that is not in the token gets a mark that keeps it out.
        """
        ...

    def destroy(self, *keys: KeyRef) -> None:
        """Remove the private keys from the token for good. Repeating it changes nothing."""
        ...


class GuardianKey(Protocol):
    """The one key that lifts or sets a multisig's guard and carries its owners' changes. Both may raise HsmError."""

    def sign(self, digest: bytes) -> Signature:
        """Sign a 32-byte digest."""
        ...

    def public_key(self) -> bytes:
        """Return the compressed public key (33 bytes)."""
        ...


class StatementVerifier(Protocol):
    """Checks signed statements, such as safe destinations."""

    def verify_statement(self, statement: bytes, signature: bytes) -> None:
        """Raise StatementError unless the vault's statement key made `signature` over exactly `statement`."""
        ...


class StatementSigner(StatementVerifier, Protocol):
    """Signs statements with the vault token's statement key (ECDSA P-256, SHA-256, 64 bytes r ‖ s)."""

    def sign_statement(self, statement: bytes) -> bytes:
        """Return the signature over `statement`."""
        ...

    def statement_public_key_pem(self) -> bytes:
        """Return the statement key's public half (PEM, SubjectPublicKeyInfo), to be pinned by other processes."""
        ...
