"""Who calls: bearer tokens `pcl_<id>_<secret>`, of which only the SHA-256 is stored.

Rules: the hash is compared in constant time; what fails is never told apart (unknown, wrong, revoked, expired); a token
is looked up again after five seconds at most, so that revoking takes effect everywhere within that time; the cache holds
hashes, never tokens, and only of tokens that were found. A token bound to a person ends with him: suspended, gone, or
without the token's role, he is refused. A token gives a role, and never authority over a gate: votes need a person and
his code (design D4).

Failed tries are braked per client address and answered with 429 per token id (`failures.py`). A token that was right here
before is not braked by others' failures, and a right one is never refused for what was tried on its id.
"""

import hashlib
import hmac
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy.engine import Engine

from service.api.failures import Failures
from service.domain.errors import PortcullisError, RateLimitedError, UnauthenticatedError
from service.domain.ids import ConnectionId, PersonId, looks_like_id
from service.domain.person import PersonState
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
    person_may: bool = True
    """Whether the person it is bound to, if any, is active and has the token's role."""


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
        self._by_address = Failures(monotonic=monotonic)
        self._by_token = Failures(monotonic=monotonic)

    def authenticate(self, headers: Iterable[tuple[bytes, bytes]], client: str = "") -> Principal:
        """Return who calls. `client` is what failures are counted by (`failures.address_of`); "" is not counted.

        Raises UnauthenticatedError, RateLimitedError after too many failures, or UnavailableError when tokens cannot be
        looked up.
        """
        token = _bearer(headers)
        token_id = _id_of(token)
        digest = hashlib.sha256(token.encode()).digest()
        if client and not self._was_right(token_id, digest):
            self._brake(self._by_address.wait_s(client))
        stored = self._lookup(token_id) if token_id else None
        expected = _ABSENT if stored is None else stored.token_hash
        same = hmac.compare_digest(digest, expected)
        if stored is None or not same or not self._valid(stored):
            raise self._failed(token_id, client)
        return stored.principal

    def remembered(self, headers: Iterable[tuple[bytes, bytes]]) -> Principal | None:
        """Return who calls, if that takes no look into the database: `authenticate` for an event loop. Never blocks.

        None says nothing about the token. Raises UnauthenticatedError without one.
        """
        token = _bearer(headers)
        cached = self._cache.get(_id_of(token))
        if cached is None or cached[0] <= self._monotonic():
            return None
        same = hmac.compare_digest(hashlib.sha256(token.encode()).digest(), cached[1].token_hash)
        return cached[1].principal if same and self._valid(cached[1]) else None

    def _was_right(self, token_id: str, digest: bytes) -> bool:
        cached = self._cache.get(token_id)
        return hmac.compare_digest(digest, _ABSENT if cached is None else cached[1].token_hash)

    def _failed(self, token_id: str, client: str) -> PortcullisError:
        if client:
            self._by_address.note(client)
        if not token_id:
            return _refused()
        self._by_token.note(token_id)
        wait_s = self._by_token.wait_s(token_id)
        return _braked(wait_s) if wait_s else _refused()

    def _brake(self, wait_s: float) -> None:
        if wait_s:
            raise _braked(wait_s)

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
        in_time = stored.expires_at is None or stored.expires_at > self._now()
        return stored.revoked_at is None and in_time and stored.person_may


def stored_tokens(engine: Engine) -> Callable[[str], StoredToken | None]:
    """Return the lookup in the database, for `Authenticator`."""

    def find(token_id: str) -> StoredToken | None:
        row = find_token(engine, token_id)
        if row is None:
            return None
        found = row._mapping  # noqa: SLF001  SQLAlchemy's public name for a row as a mapping
        principal = Principal(token_id, Role(found["role"]), found["person_id"], found["connection_id"])
        unbound = principal.person_id is None
        may = unbound or (
            found["person_state"] == PersonState.ACTIVE.value and principal.role.value in (found["person_roles"] or ())
        )
        return StoredToken(principal, bytes(found["token_hash"]), found["expires_at"], found["revoked_at"], may)

    return find


def _id_of(token: str) -> str:
    """Return the id inside a token, "" when it does not have the form of one."""
    parts = token.split("_", 2)
    token_id = f"tok_{parts[1]}" if len(parts) == 3 and parts[0] == "pcl" else ""  # noqa: PLR2004  prefix, id, secret
    return token_id if looks_like_id(token_id, "tok") else ""


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


def _braked(wait_s: float) -> RateLimitedError:
    return RateLimitedError("too many failed tries from here or with this token id; wait", retry_after_s=wait_s)
