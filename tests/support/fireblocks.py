"""The platform's side of Fireblocks in tests: keys, signed webhooks, a key server, co-signer callbacks."""

import base64
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from jwt.algorithms import RSAAlgorithm

from tests.support.http_server import Answer, Asked, as_json, serving

WORKSPACE = "7ab39daf-5ebb-47a3-a3c3-6d24a4b4b2ee"
KID = "key-1"
RAW_TX = "02ef0104843b9aca008506a0c1987d825208945dc69b1fbb13bafd09af88a782f0f285772ad5f8872386f26fc1000080c0"
PAYLOAD = "77b4e74099ce90c08503c0e0bb6e672dbe1c5e3e127ce333bf22eb581cd3f6ce"
SHOWN = "0x5dC69B1Fbb13Bafd09af88A782F0F285772AD5f8"


@cache
def rsa_key(_name: str) -> rsa.RSAPrivateKey:
    """One key per name and pytest process."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def pem(key: rsa.RSAPrivateKey) -> str:
    """The public half."""
    return (
        key.public_key()
        .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        .decode()
    )


def b64(data: bytes) -> bytes:
    """base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def v2_headers(body: bytes, *, key: rsa.RSAPrivateKey, header: Mapping[str, object] | None = None) -> dict[str, str]:
    """A detached JWS over the body."""
    protected = b64(json.dumps(header or {"alg": "RS512", "kid": KID}).encode())
    signature = key.sign(protected + b"." + b64(body), padding.PKCS1v15(), hashes.SHA512())
    return {"Fireblocks-Webhook-Signature": (protected + b".." + b64(signature)).decode()}


def v1_headers(body: bytes, *, key: rsa.RSAPrivateKey) -> dict[str, str]:
    """A v1 signature over the body."""
    signature = key.sign(body, padding.PKCS1v15(), hashes.SHA512())
    return {"Fireblocks-Signature": base64.b64encode(signature).decode()}


def sign_request(**changes: object) -> dict[str, object]:
    """The documentation's signing request with the official raw transaction."""
    claims: dict[str, object] = {
        "txId": "tx-1",
        "operation": "TRANSFER",
        "sourceType": "VAULT",
        "sourceId": "0",
        "destType": "UNMANAGED",
        "destId": "1",
        "asset": "ETH",
        "amount": 0.01,
        "amountStr": "0.010000000000000000",
        "destAddressType": "WHITELISTED",
        "destAddress": SHOWN,
        "destinations": [
            {
                "amountNative": 0.01,
                "amountNativeStr": "0.010000000000000000",
                "amountUSD": 27.5,
                "dstAddressType": "WHITELISTED",
                "dstType": "UNMANAGED",
                "displayDstAddress": SHOWN,
                "action": "ALLOW",
            }
        ],
        "rawTx": [{"keyDerivationPath": "[ 44, 60, 0, 0, 0 ]", "rawTx": RAW_TX, "payload": PAYLOAD}],
        "players": ["a", "b", "c"],
        "requestId": "tx-1-batch-0",
        "signerId": "s",
    }
    return claims | changes


def callback(claims: Mapping[str, object], key: rsa.RSAPrivateKey) -> bytes:
    """The body that a co-signer posts."""
    return jwt.encode(dict(claims), key, "RS256").encode()


@dataclass
class KeyServer:
    """Serves a key set on loopback; `down` makes it answer 500."""

    url: str
    keys: list[tuple[str, rsa.RSAPrivateKey]] = field(default_factory=list)
    down: bool = False
    asked: int = 0


@contextmanager
def key_server() -> Iterator[KeyServer]:
    """Run a key server."""
    state = KeyServer("")

    def answer(_asked: Asked) -> Answer:
        state.asked += 1
        keys = [
            json.loads(RSAAlgorithm.to_jwk(key.public_key())) | {"kid": kid, "alg": "RS512", "use": "sig"}
            for kid, key in state.keys
        ]
        return as_json(500 if state.down else 200, {"keys": keys})

    with serving(answer) as url:
        state.url = f"{url}/.well-known/jwks.json"
        yield state
