"""The platform's own signing keys and the forms in which it signs.

Webhooks v2: a detached compact JWS (RFC 7515 appendix F) in RS512 with `kid`, the payload in ordinary base64url.
Webhooks v1: RSA-PKCS1 v1.5 over SHA-512, base64. Co-signer requests: a compact JWS in RS256 whose payload is the
claims as JSON. Keys are made at start and live in memory only.
"""

import base64
from dataclasses import dataclass, field

import jwt
import msgspec
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from jwt.algorithms import RSAAlgorithm

RSA_BITS = 2048
_ENCODER = msgspec.json.Encoder(decimal_format="number")


def to_json(value: object) -> bytes:
    """Compact JSON; Decimal as an exact number."""
    return _ENCODER.encode(value)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An RSA key with its id; the representation shows the id only."""

    kid: str
    private: rsa.RSAPrivateKey = field(repr=False)

    @classmethod
    def generate(cls, kid: str) -> "SigningKey":
        """A fresh 2048-bit key."""
        return cls(kid, rsa.generate_private_key(public_exponent=65537, key_size=RSA_BITS))

    def public_pem(self) -> str:
        """The public key as SubjectPublicKeyInfo PEM."""
        spki = serialization.PublicFormat.SubjectPublicKeyInfo
        return self.private.public_key().public_bytes(serialization.Encoding.PEM, spki).decode()

    def jwk(self) -> dict[str, object]:
        """The public key as a JWK for RS512 signatures."""
        public = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        return {"kty": public["kty"], "n": public["n"], "e": public["e"], "kid": self.kid, "alg": "RS512", "use": "sig"}

    def detached_jws(self, body: bytes) -> str:
        """`header..signature` over the raw body."""
        compact = jwt.api_jws.encode(body, self.private, "RS512", headers={"kid": self.kid})
        header, _, signature = compact.split(".")
        return f"{header}..{signature}"

    def sha512_signature(self, body: bytes) -> str:
        """The v1 header value over the raw body."""
        return base64.b64encode(self.private.sign(body, padding.PKCS1v15(), hashes.SHA512())).decode()

    def claims_jws(self, claims: dict[str, object]) -> str:
        """A compact RS256 JWS of claims."""
        return jwt.api_jws.encode(to_json(claims), self.private, "RS256", headers={"kid": self.kid})


@dataclass(frozen=True, slots=True)
class PlatformKeys:
    """All keys that the platform signs with."""

    webhook: SigningKey
    cosigner: SigningKey

    @classmethod
    def generate(cls) -> "PlatformKeys":
        """Fresh keys."""
        return cls(SigningKey.generate("emulator-webhooks-1"), SigningKey.generate("emulator-cosigner-1"))
