"""Ed25519 keys for Solana-like chains, derived by SLIP-10 from the same seed as the BIP-32 keys.

Rules held here:
- Master: HMAC-SHA512 with the key `ed25519 seed`; child: HMAC-SHA512 under the chain code over 00 ‖ key ‖ index.
- Ed25519 has hardened children only (SLIP-10, "Private parent key → private child key"): any other level is an error,
  never a silent hardening. So there is no extended public key, and a lost leaf takes nothing else with it.
- A key shows its public half only. The public key is computed by `cryptography`; no curve arithmetic is done here.
Python cannot wipe the copies that its objects leave behind; `docs/concepts/keys.md` says what follows.
"""

import hmac
from dataclasses import dataclass
from typing import Final, Self

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from embit import base58

from hsm.custodian import MAX_SEED_BYTES, MIN_SEED_BYTES
from hsm.errors import DerivationError
from hsm.keypath import DerivationPath

PUBLIC_BYTES: Final = 32
_MASTER: Final = b"ed25519 seed"


@dataclass(frozen=True, slots=True, repr=False)
class Ed25519Node:
    """One node of the tree: a private key and its chain code, 32 bytes each."""

    secret: bytes
    chain_code: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Return the master node of a seed of 16 to 64 bytes. Raises DerivationError for other lengths."""
        if not MIN_SEED_BYTES <= len(seed) <= MAX_SEED_BYTES:
            raise DerivationError(
                f"a seed has {MIN_SEED_BYTES} to {MAX_SEED_BYTES} bytes, not {len(seed)}", field="seed"
            )
        return cls._of(hmac.digest(_MASTER, seed, "sha512"))

    def derive(self, path: DerivationPath) -> "Ed25519Node":
        """Return the descendant at `path`. Raises DerivationError for a level that is not hardened."""
        node = self
        for level in path.levels:
            if not level.hardened:
                raise DerivationError(
                    f"level {level} is not hardened: Ed25519 has no such child (SLIP-10)", field="path"
                )
            body = b"\x00" + node.secret + level.wire.to_bytes(4, "big")
            node = Ed25519Node._of(hmac.digest(node.chain_code, body, "sha512"))
        return node

    @property
    def public_key(self) -> bytes:
        """The public key, 32 bytes (RFC 8032 section 5.1.5)."""
        return Ed25519PrivateKey.from_private_bytes(self.secret).public_key().public_bytes_raw()

    @classmethod
    def _of(cls, digest: bytes) -> Self:
        return cls(digest[:32], digest[32:])

    def __repr__(self) -> str:
        return f"Ed25519Node(public={self.public_key.hex()})"


def solana_address(public_key: bytes) -> str:
    """Return the Solana address of an Ed25519 public key: its 32 bytes in Base58. Raises DerivationError."""
    if len(public_key) != PUBLIC_BYTES:
        raise DerivationError(
            f"an Ed25519 public key has {PUBLIC_BYTES} bytes, not {len(public_key)}", field="public_key"
        )
    return str(base58.encode(public_key))
