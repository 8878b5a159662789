"""Who calls: bearer tokens `pcl_<id>_<secret>`, of which only the SHA-256 is stored.

Rules: the hash is compared in constant time; what fails is never told apart (unknown, wrong, revoked, expired); a token
is looked up again after five seconds at most, so that revoking takes effect everywhere within that time; the cache holds
hashes, never tokens, and only of tokens that were found. A token gives a role, and never authority over a gate: votes
need a person and his code (design D4).
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.engine import Engine

from service.domain.errors import UnauthenticatedError
from service.domain.ids import ConnectionId, PersonId, looks_like_id
from service.domain.quorum import Role
from service.store.tokens import find_token

CACHE_S: Final = 5.0
_MAX_CACHED: Final = 10_000
_MAX_TOKEN: Final = 200
_ABSENT: Final = hashlib.sha256(b"no such token").digest()


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls, and what the token lets him do."""

    token_id: str
    role: Role
    person_id: PersonId | None
    connection_id: ConnectionId | None
    """The one connection that an ingest token may speak for."""


@dataclass(frozen=True, slots=True)
class StoredToken:
    """One row of api_tokens."""

    principal: Principal
    token_hash: bytes
    expires_at: datetime | None
    revoked_at: datetime | None


class Authenticator:
    """Checks the Authorization header. `find` reads a token's row by id, or returns None; it may block."""

    def __init__(
        self,
        find: Callable[[str], StoredToken | None],
        *,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._find = find
        self._now = now
        self._monotonic = monotonic
        self._cache: dict[str, tuple[float, StoredToken]] = {}

    def authenticate(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal:
        """Return who calls. Raises UnauthenticatedError, or UnavailableError when tokens cannot be looked up."""
        token = _bearer(headers)
        parts = token.split("_", 2)
        token_id = f"tok_{parts[1]}" if len(parts) == 3 and parts[0] == "pcl" else ""  # noqa: PLR2004  prefix, id, secret
        stored = self._lookup(token_id) if looks_like_id(token_id, "tok") else None
        expected = _ABSENT if stored is None else stored.token_hash
        same = hmac.compare_digest(hashlib.sha256(token.encode()).digest(), expected)
        if stored is None or not same or not self._valid(stored):
            raise _refused()
        return stored.principal

    def _lookup(self, token_id: str) -> StoredToken | None:
        cached = self._cache.get(token_id)
        if cached is not None and cached[0] > self._monotonic():
            return cached[1]
        found = self._find(token_id)
        if found is None:
            self._cache.pop(token_id, None)
            return None
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        self._cache[token_id] = (self._monotonic() + CACHE_S, found)
        return found

    def _valid(self, stored: StoredToken) -> bool:
        return stored.revoked_at is None and (stored.expires_at is None or stored.expires_at > self._now())


def stored_tokens(engine: Engine) -> Callable[[str], StoredToken | None]:
    """Return the lookup in the database, for `Authenticator`."""

    def find(token_id: str) -> StoredToken | None:
        row = find_token(engine, token_id)
        if row is None:
            return None
        found = row._mapping  # noqa: SLF001  SQLAlchemy's public name for a row as a mapping
        principal = Principal(token_id, Role(found["role"]), found["person_id"], found["connection_id"])
        return StoredToken(principal, bytes(found["token_hash"]), found["expires_at"], found["revoked_at"])

    return find


def _bearer(headers: Iterable[tuple[bytes, bytes]]) -> str:
    values = [value for name, value in headers if name.lower() == b"authorization"]
    if len(values) != 1 or len(values[0]) > _MAX_TOKEN or not values[0].isascii():
        raise _refused()
    scheme, _, token = values[0].decode("ascii").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _refused()
    return token.strip()


def _refused() -> UnauthenticatedError:
    return UnauthenticatedError("send a valid API token: Authorization: Bearer pcl_…")
