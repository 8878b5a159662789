"""What a custodian of wallet keys does, as Protocols, and the values that cross that border.

Rules held here:
- Pure: no token, no library of one. `hsm.pkcs11.custodian` is the real one; `hsm.software` is for tests.
- A seed is only ever seen sealed; a private key never at all. What leaves is public or a signature.
- `wallet_id` is bound into the seal (AES-GCM additional data), so one wallet's seed cannot be opened as another's.
- Signatures are low-S (BIP-62 rule 5, EIP-2) and carry the recovery id, so a caller needs no second lookup.
"""

import re
from dataclasses import dataclass
from typing import Final, Protocol

from hsm.errors import HsmInputError
from hsm.keypath import DerivationPath

WALLET_ID: Final = re.compile(r"[a-z0-9][a-z0-9_.:-]{0,63}", re.ASCII)
DIGEST_BYTES: Final = 32
MIN_SEED_BYTES: Final = 16
MAX_SEED_BYTES: Final = 64


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


@dataclass(frozen=True, slots=True)
class KeyRef:
    """Names one private key in the vault token: its label is `wallet_id/path`. It holds no secret."""

    wallet_id: str
    path: DerivationPath

    def __post_init__(self) -> None:
        require_wallet_id(self.wallet_id)

    @property
    def label(self) -> str:
        """The object label in the token, for example `treasury/m/84h/0h/0h/0/5`."""
        return f"{self.wallet_id}/{self.path}"


@dataclass(frozen=True, slots=True)
class SealedSeed:
    """A wallet seed sealed by the token's own AES key. Useless without the token; safe to store and back up."""

    envelope: bytes

    def __repr__(self) -> str:
        return f"SealedSeed({len(self.envelope)} bytes)"


@dataclass(frozen=True, slots=True)
class AccountPublic:
    """The public side of an account: its extended public key (BIP-32 xpub, Base58Check) and its path."""

    xpub: str
    path: DerivationPath


@dataclass(frozen=True, slots=True)
class LeafKey:
    """A leaf that is now in the token, and its compressed public key (33 bytes, SEC 1)."""

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
        """Draw a new 64-byte seed inside the token's random generator and return it sealed for `wallet_id`."""
        ...

    def open_account(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath) -> AccountPublic:
        """Return the public side of the account at `path`. Raises SealError if the seal is not of this wallet."""
        ...

    def leaf(self, sealed: SealedSeed, wallet_id: str, path: DerivationPath) -> LeafKey:
        """Put the private key at `path` into the token, sensitive and non-extractable, or return the one there.

        A leaf that was disabled stays disabled: asking for it again does not revive it.
        """
        ...

    def sign(self, key: KeyRef, digest: bytes) -> Signature:
        """Sign a 32-byte digest. Raises KeyUseRefusedError if the key is disabled, KeyNotFoundError if absent."""
        ...

    def public_key(self, key: KeyRef) -> bytes:
        """Return the compressed public key (33 bytes). Raises KeyNotFoundError."""
        ...

    def exists(self, key: KeyRef) -> bool:
        """Whether the private key is in the token."""
        ...

    def may_sign(self, key: KeyRef) -> bool:
        """Whether the token lets the key sign (CKA_SIGN). Raises KeyNotFoundError."""
        ...

    def disable(self, key: KeyRef) -> None:
        """Let the key sign nothing more (CKA_SIGN = false). Repeating it changes nothing."""
        ...

    def destroy(self, key: KeyRef) -> None:
        """Remove the private key from the token for good. Repeating it changes nothing."""
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
