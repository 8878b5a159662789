"""The bearer token of the REST interface binds path, body, time and nonce."""

import hashlib
import time
from collections.abc import Callable

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from drills.emulator.auth import BODYLESS, Authenticator
from drills.emulator.errors import FieldError, UnauthorizedError
from drills.emulator.idempotency import Idempotency
from drills.emulator.reply import Reply
from drills.emulator.settings import ApiUserSeed

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = (
    KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
)
URI = "/v1/transactions?limit=1"


@pytest.fixture
def authenticator() -> Authenticator:
    return Authenticator([ApiUserSeed(api_key="key-1", public_key_pem=PEM)], set())


def token(key: rsa.RSAPrivateKey = KEY, body: bytes = b"", **changes: object) -> str:
    now = int(time.time())
    digest = hashlib.sha256(body).hexdigest()
    claims = {"uri": URI, "nonce": "n-1", "iat": now, "exp": now + 55, "sub": "key-1", "bodyHash": digest}
    return "Bearer " + jwt.encode({k: v for k, v in (claims | changes).items() if v is not None}, key, "RS256")


def test_genuine_requests(authenticator: Authenticator) -> None:
    assert authenticator.check("key-1", token(), URI, b"") == "key-1"
    assert authenticator.check("key-1", token(nonce=17), URI, b"") == "key-1"
    assert authenticator.check("key-1", token(nonce="n-2", bodyHash=BODYLESS[1]), URI, b"") == "key-1"
    assert authenticator.check("key-1", token(nonce="n-3", body=b"{}"), URI, b"{}") == "key-1"


@pytest.mark.parametrize(
    "make",
    [
        lambda: token(uri="/v1/transactions"),
        lambda: token(sub="key-2"),
        lambda: token(body=b"other"),
        lambda: token(exp=int(time.time()) + 3600),
        lambda: token(iat=int(time.time()) - 200, exp=int(time.time()) - 145),
        lambda: token(nonce=None),
        lambda: token(key=OTHER),
        lambda: "Bearer " + jwt.encode({"sub": "key-1"}, "s" * 40, "HS256"),
        lambda: "Bearer x.y.z",
        lambda: "Basic abc",
        lambda: "",
    ],
)
def test_anything_else_is_refused(authenticator: Authenticator, make: Callable[[], str]) -> None:
    with pytest.raises(UnauthorizedError):
        authenticator.check("key-1", make(), URI, b"")


def test_a_nonce_counts_once(authenticator: Authenticator) -> None:
    authenticator.check("key-1", token(), URI, b"")
    with pytest.raises(UnauthorizedError):
        authenticator.check("key-1", token(), URI, b"")


def test_a_revoked_key_is_refused() -> None:
    revoked: set[str] = set()
    authenticator = Authenticator([ApiUserSeed(api_key="key-1", public_key_pem=PEM)], revoked)
    authenticator.check("key-1", token(), URI, b"")
    revoked.add("key-1")
    with pytest.raises(UnauthorizedError):
        authenticator.check("key-1", token(nonce="n-2"), URI, b"")


def test_idempotency_keeps_the_first_answer() -> None:
    kept = Idempotency()
    assert kept.earlier("key-1", "k", "d") is None
    kept.keep("key-1", "k", "d", Reply(200, {"id": "1"}))
    assert kept.earlier("key-1", "k", "d") == Reply(200, {"id": "1"})
    assert kept.earlier("key-2", "k", "d") is None
    with pytest.raises(FieldError):
        kept.earlier("key-1", "k", "other")


def test_idempotency_forgets_server_errors_and_old_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Idempotency()
    kept.keep("key-1", "k", "d", Reply(502))
    assert kept.earlier("key-1", "k", "d") is None
    kept.keep("key-1", "k", "d", Reply(200))
    later = int(time.time()) + 24 * 3600 + 5
    monkeypatch.setattr("drills.emulator.idempotency.now_s", lambda: later)
    assert kept.earlier("key-1", "k", "d") is None
