"""Making, importing and publishing keys in a token.

Rules held here:
- Every private and secret key is a token object, private, sensitive and not extractable, and may do one thing only.
- A key that comes from outside is unwrapped into the token, not created from its value: tokens in FIPS mode refuse the
  latter (CKM_RSA_PKCS_OAEP for a one-time AES key, CKM_AES_KEY_WRAP_PAD, RFC 5649, for the PKCS#8 form).
- The public half stays in the token as an object of the same label, so any restart can publish it.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import PyKCS11 as P
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.keywrap import aes_key_wrap_with_padding

from hsm.errors import KeyNotFoundError
from hsm.pkcs11.session import Handle, Template, TokenSession
from hsm.sealing import oaep_sha1

P256_OID: Final = bytes.fromhex("06082a8648ce3d030107")
"""DER of 1.2.840.10045.3.1.7, prime256v1."""
SECP256K1_OID: Final = bytes.fromhex("06052b8104000a")
"""DER of 1.3.132.0.10, secp256k1."""
CURVES: Final[dict[bytes, type[ec.EllipticCurve]]] = {P256_OID: ec.SECP256R1, SECP256K1_OID: ec.SECP256K1}
RSA_EXPONENT: Final = b"\x01\x00\x01"
TRANSPORT_KEY_BYTES: Final = 32


def _public(label: str, use: int) -> list[tuple[int, Any]]:
    return [(P.CKA_TOKEN, True), (P.CKA_PRIVATE, False), (use, True), (P.CKA_LABEL, label)]


def private_template(label: str, use: int, *, kept: bool = True) -> list[tuple[int, Any]]:
    """Return the attributes of a private key that may do `use` and nothing else; not `kept` is for this session only."""
    refused = [(other, False) for other in (P.CKA_SIGN, P.CKA_DECRYPT, P.CKA_UNWRAP) if other != use]
    return [
        (P.CKA_TOKEN, kept),
        (P.CKA_PRIVATE, True),
        (P.CKA_SENSITIVE, True),
        (P.CKA_EXTRACTABLE, False),
        (P.CKA_LABEL, label),
        (use, True),
        *refused,
    ]


def _counterpart(use: int) -> int:
    return int({P.CKA_SIGN: P.CKA_VERIFY, P.CKA_DECRYPT: P.CKA_ENCRYPT, P.CKA_UNWRAP: P.CKA_WRAP}[use])


def generate_rsa(session: TokenSession, label: str, bits: int, use: int) -> None:
    """Generate an RSA pair whose private half may do `use` (CKA_SIGN, CKA_DECRYPT or CKA_UNWRAP) and nothing else."""
    public = [*_public(label, _counterpart(use)), (P.CKA_MODULUS_BITS, bits), (P.CKA_PUBLIC_EXPONENT, RSA_EXPONENT)]
    session.generate_pair(P.CKM_RSA_PKCS_KEY_PAIR_GEN, public, private_template(label, use))


def generate_ec(session: TokenSession, label: str, curve: bytes) -> None:
    """Generate a signing pair on a curve given by its DER object identifier."""
    public = [*_public(label, P.CKA_VERIFY), (P.CKA_EC_PARAMS, curve)]
    session.generate_pair(P.CKM_EC_KEY_PAIR_GEN, public, private_template(label, P.CKA_SIGN))


def generate_aes(session: TokenSession, label: str) -> None:
    """Generate an AES-256 key that encrypts and decrypts and never leaves."""
    session.generate_secret(
        P.CKM_AES_KEY_GEN,
        [
            (P.CKA_CLASS, P.CKO_SECRET_KEY),
            (P.CKA_KEY_TYPE, P.CKK_AES),
            (P.CKA_VALUE_LEN, 32),
            (P.CKA_TOKEN, True),
            (P.CKA_PRIVATE, True),
            (P.CKA_SENSITIVE, True),
            (P.CKA_EXTRACTABLE, False),
            (P.CKA_ENCRYPT, True),
            (P.CKA_DECRYPT, True),
            (P.CKA_LABEL, label),
        ],
    )


def import_private(
    session: TokenSession, wrapper: str, label: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
) -> None:
    """Put a private key into the token under the RSA pair labelled `wrapper`; its value is sensitive at once.

    The public object is written first: a crash in between leaves a public key without a private one, and importing
    again repairs that.
    """
    _publish(session, label, key)
    kind = P.CKK_EC if isinstance(key, ec.EllipticCurvePrivateKey) else P.CKK_RSA
    template = [(P.CKA_CLASS, P.CKO_PRIVATE_KEY), (P.CKA_KEY_TYPE, kind), *private_template(label, P.CKA_SIGN)]
    with transport_key(session, wrapper) as transport:
        unwrap_private(session, transport, key, template)


@dataclass(frozen=True, slots=True, repr=False)
class TransportKey:
    """An AES-256 key that this process and the token share for one batch of imports; gone with the batch."""

    handle: Handle
    value: bytes


@contextmanager
def transport_key(session: TokenSession, wrapper: str) -> Iterator[TransportKey]:
    """Share a one-time AES key with the token, under the RSA pair labelled `wrapper`."""
    value = os.urandom(TRANSPORT_KEY_BYTES)
    handle = _unwrap_transport(session, wrapper, value)
    try:
        yield TransportKey(handle, value)
    finally:
        session.destroy(handle)


def unwrap_private(
    session: TokenSession,
    transport: TransportKey,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey,
    template: Template,
) -> Handle:
    """Put a private key into the token under a transport key, with the attributes of `template`."""
    pkcs8 = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    wrapped = aes_key_wrap_with_padding(transport.value, pkcs8)
    return session.unwrap(transport.handle, P.Mechanism(P.CKM_AES_KEY_WRAP_PAD), wrapped, template)


def _unwrap_transport(session: TokenSession, wrapper: str, transport: bytes) -> Handle:
    public = serialization.load_pem_public_key(public_pem(session, wrapper))
    if not isinstance(public, rsa.RSAPublicKey):
        raise KeyNotFoundError(f"{wrapper} is not an RSA key")
    mechanism = P.RSAOAEPMechanism(P.CKM_SHA_1, P.CKG_MGF1_SHA1)
    template = [
        (P.CKA_CLASS, P.CKO_SECRET_KEY),
        (P.CKA_KEY_TYPE, P.CKK_AES),
        (P.CKA_TOKEN, False),
        (P.CKA_SENSITIVE, True),
        (P.CKA_EXTRACTABLE, False),
        (P.CKA_UNWRAP, True),
    ]
    return session.unwrap(
        session.one(wrapper, P.CKO_PRIVATE_KEY), mechanism, public.encrypt(transport, oaep_sha1()), template
    )


def _publish(session: TokenSession, label: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> None:
    for stale in session.find(label, P.CKO_PUBLIC_KEY):
        session.destroy(stale)
    template = [(P.CKA_CLASS, P.CKO_PUBLIC_KEY), *_public(label, P.CKA_VERIFY)]
    public = key.public_key()
    if isinstance(public, rsa.RSAPublicKey):
        numbers = public.public_numbers()
        template += [
            (P.CKA_KEY_TYPE, P.CKK_RSA),
            (P.CKA_MODULUS, numbers.n.to_bytes((public.key_size + 7) // 8, "big")),
            (P.CKA_PUBLIC_EXPONENT, numbers.e.to_bytes((numbers.e.bit_length() + 7) // 8, "big")),
        ]
    else:
        point = public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)
        curve = next(oid for oid, kind in CURVES.items() if isinstance(public.curve, kind))
        octets = b"\x04" + bytes([len(point)]) + point
        template += [(P.CKA_KEY_TYPE, P.CKK_EC), (P.CKA_EC_PARAMS, curve), (P.CKA_EC_POINT, octets)]
    session.create(template)


def public_pem(session: TokenSession, label: str) -> bytes:
    """Return the public key labelled `label` as PEM (SubjectPublicKeyInfo). Raises KeyNotFoundError."""
    handle = session.one(label, P.CKO_PUBLIC_KEY)
    modulus, exponent = session.read(handle, P.CKA_MODULUS), session.read(handle, P.CKA_PUBLIC_EXPONENT)
    key: rsa.RSAPublicKey | ec.EllipticCurvePublicKey
    if modulus and exponent:
        key = rsa.RSAPublicNumbers(int.from_bytes(exponent, "big"), int.from_bytes(modulus, "big")).public_key()
    else:
        curve = CURVES.get(session.read(handle, P.CKA_EC_PARAMS) or b"")
        if curve is None:
            raise KeyNotFoundError(f"{label} is neither an RSA nor a P-256 nor a secp256k1 key")
        key = ec.EllipticCurvePublicKey.from_encoded_point(curve(), ec_point(session, label))
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def ec_point(session: TokenSession, label: str) -> bytes:
    """Return the uncompressed point (65 bytes) of an EC public key. Raises KeyNotFoundError.

    CKA_EC_POINT is a DER OCTET STRING (PKCS#11 v2.40 section 2.3.3); some tokens return the bare point, which is also
    taken.
    """
    return ec_point_of(session, session.one(label, P.CKO_PUBLIC_KEY), label)


def ec_point_of(session: TokenSession, handle: Handle, label: str) -> bytes:
    """As `ec_point`, of an object that was found; `label` is for the message."""
    raw = session.read(handle, P.CKA_EC_POINT) or b""
    point = raw[2:] if len(raw) == 67 and raw[:2] == b"\x04\x41" else raw  # noqa: PLR2004  tag, length, 65-byte point
    if len(point) != 65 or point[0] != 4:  # noqa: PLR2004  SEC 1 section 2.3.3, 256-bit curve
        raise KeyNotFoundError(f"{label} has no uncompressed 256-bit point")
    return point
