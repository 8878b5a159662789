"""Schnorr signatures over secp256k1 (BIP-340), and the keys of outputs that one key spends (BIP-341, BIP-86).

No PKCS#11 token makes them: neither v2.40 nor v3.1 has the mechanism.

Rules held here:
- The arithmetic is libsecp256k1's. 32 random bytes go into each nonce (BIP-340 "Default Signing"), so that a fault or a
  side channel cannot compare two signatures of one message.
- Each signature is verified before it is returned: a fault while signing must not leave the process.
- An output that a leaf spends by its key has no script: its key is the leaf's, tweaked by the hash of the leaf's own
  public key and of nothing else (BIP-86). The tweak is worked out here and never taken from a caller, so no signature is of
  a key that hides a script.
- The key is in this process's memory while it signs; `docs/adr/0037` says what that costs and what still limits it.
"""

from typing import Any, Final, Protocol, cast

from embit.ec import PrivateKey, PublicKey
from embit.util import secp256k1 as _secp256k1

from hsm.custodian import KeyCustodian, KeyRef, SealedSeed, require_digest
from hsm.ecdsa import compressed
from hsm.errors import HsmInputError, SignatureMismatchError

SIGNATURE_BYTES: Final = 64
AUX_BYTES: Final = 32
# embit ships no types; see hsm.ecdsa.
_secp: Any = cast("Any", _secp256k1)


class TaprootSigner(Protocol):
    """Signs taproot inputs with keys derived for the moment of signing."""

    def sign_taproot(self, sealed: SealedSeed, key: KeyRef, digest: bytes, *, key_path: bool = False) -> bytes:
        """Return the BIP-340 signature (64 bytes) over a 32-byte digest, of the leaf key as it stands in a script.

        With `key_path` it is of the output's key, tweaked as BIP-86 says (`output_key`). The leaf must be in the token and
        enabled there, although the token does not make the signature. Raises KeyNotFoundError, KeyUseRefusedError and
        SealError.
        """
        ...


class WalletKeys(KeyCustodian, TaprootSigner, Protocol):
    """What the vault token does for wallets of every chain."""


def sign(secret: bytes, digest: bytes, aux: bytes) -> bytes:
    """Return a BIP-340 signature; `secret`, `digest` and `aux` (randomness) have 32 bytes. Raises HsmInputError."""
    return _signed(secret, digest, aux, _public_of(secret))


def output_key(public_key: bytes) -> bytes:
    """Return the key (32 bytes, x-only) of the output that a leaf's public key spends alone (BIP-86)."""
    return bytes(PublicKey.parse(compressed(public_key)).taproot_tweak().xonly())


def sign_alone(secret: bytes, digest: bytes, aux: bytes) -> bytes:
    """Return the BIP-340 signature of the output's key of the leaf `secret`; otherwise as `sign`."""
    return _signed(
        bytes(PrivateKey(secret).taproot_tweak().secret), digest, aux, b"\x02" + output_key(_public_of(secret))
    )


def verify(signature: bytes, digest: bytes, public_key: bytes) -> bool:
    """Whether `public_key` (33 bytes; its sign does not count) made the signature over `digest`."""
    if len(signature) != SIGNATURE_BYTES:
        return False
    point, _ = _secp.xonly_pubkey_from_pubkey(_secp.ec_pubkey_parse(compressed(public_key)))
    return bool(_secp.schnorrsig_verify(signature, require_digest(digest), point))


def _signed(secret: bytes, digest: bytes, aux: bytes, public_key: bytes) -> bytes:
    require_digest(digest)
    if len(aux) != AUX_BYTES:
        raise HsmInputError(f"a signature takes {AUX_BYTES} bytes of randomness", field="aux")
    signature = bytes(_secp.schnorrsig_sign(digest, secret, None, aux))
    if not verify(signature, digest, public_key):
        raise SignatureMismatchError("a signature came out wrong: do not use this machine until it is examined")
    return signature


def _public_of(secret: bytes) -> bytes:
    return bytes(_secp.ec_pubkey_serialize(_secp.ec_pubkey_create(secret)))
