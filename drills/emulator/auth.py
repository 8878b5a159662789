"""Who may call the REST interface: X-API-Key and a Bearer JWT (RS256) over path, body and time, each nonce once.

Rules (platform documentation, and both official SDKs as observed): uri equals path and query; bodyHash is SHA-256 of
the raw body, and a call without a body may hash the empty string or two quote characters; iat..exp is at most a
minute; a nonce is a string or an integer and is accepted once. Anything missing or wrong is one and the same 401,
which tells an attacker nothing.
"""

import hashlib
import hmac
from collections.abc import Iterable

import jwt
import msgspec

from drills.emulator.clock import now_s
from drills.emulator.errors import UnauthorizedError
from drills.emulator.settings import ApiUserSeed

MAX_LIFETIME_S = 60
LEEWAY_S = 10
BODYLESS = (hashlib.sha256(b"").hexdigest(), hashlib.sha256(b'""').hexdigest())


class Claims(msgspec.Struct, frozen=True):
    """What a bearer token must state."""

    uri: str
    nonce: str | int
    iat: int
    exp: int
    sub: str
    body_hash: str = msgspec.field(name="bodyHash")


class Authenticator:
    """Checks requests against the seeded API users."""

    def __init__(self, users: Iterable[ApiUserSeed], revoked: set[str]) -> None:
        self._keys = {user.api_key: user.public_key_pem for user in users}
        self._revoked = revoked
        self._nonces: dict[tuple[str, str], int] = {}

    def check(self, api_key: str, authorization: str, uri: str, body: bytes) -> str:
        """Return the API key of a genuine request; UnauthorizedError."""
        pem = self._keys.get(api_key)
        if pem is None or api_key in self._revoked or not authorization.startswith("Bearer "):
            raise UnauthorizedError("missing or unknown credentials")
        claims = self._claims(authorization.removeprefix("Bearer "), pem)
        now = now_s()
        fresh = claims.iat - LEEWAY_S <= now <= claims.exp + LEEWAY_S and claims.exp - claims.iat <= MAX_LIFETIME_S
        same = claims.sub == api_key and claims.uri == uri and _hash_matches(claims.body_hash, body)
        if not (fresh and same and self._first_use(api_key, claims, now)):
            raise UnauthorizedError("the token does not match this request")
        return api_key

    def _claims(self, token: str, pem: str) -> Claims:
        try:
            return msgspec.json.decode(jwt.api_jws.decode(token, pem, ["RS256"]), type=Claims)
        except (jwt.PyJWTError, msgspec.MsgspecError, ValueError):
            raise UnauthorizedError("the token is not valid") from None

    def _first_use(self, api_key: str, claims: Claims, now: int) -> bool:
        self._nonces = {k: exp for k, exp in self._nonces.items() if exp + LEEWAY_S >= now}
        key = (api_key, str(claims.nonce))
        if key in self._nonces:
            return False
        self._nonces[key] = claims.exp
        return True


def _hash_matches(stated: str, body: bytes) -> bool:
    if not body:
        return any(hmac.compare_digest(stated.encode(), known.encode()) for known in BODYLESS)
    return hmac.compare_digest(stated.encode(), hashlib.sha256(body).hexdigest().encode())
