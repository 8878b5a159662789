"""Connections as the hot path uses them: opened once, looked at again every five seconds.

Rules: an opened connection is kept as long as its row and its sealed secrets stay the same, so that key sets and rate
buckets live on. Its inbound secrets are unsealed when it is opened and live in this process's memory only. An unknown
connection is remembered as unknown for a second, in a bounded table.
"""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from hsm.errors import HsmError
from service.domain.errors import ConfigurationError, NotFoundError, RateLimitedError, UnavailableError
from service.domain.ids import ConnectionId
from service.domain.setup import secret_aad
from service.ports.custody import ConnectionConfig, PlatformDeclaration, WebhookReceiver
from service.ports.gate import GateDoor
from service.store.connections import StoredConnection

CACHE_S: Final = 5.0
UNKNOWN_S: Final = 1.0
DEFAULT_RATE: Final = 2000.0
RATE_SETTING: Final = "rate_per_s"
"""Deliveries a second that a connection may send, at most; twice that in one burst."""
PAUSED_RETRY_S: Final = 60.0
_MAX_UNKNOWN: Final = 1000
_MAX_NAME: Final = 64

Load = Callable[[str], Awaitable[StoredConnection | None]]
Unseal = Callable[[bytes, bytes], bytes]
"""Opens a sealed secret for its use; may block; raises HsmError."""


class Bucket:
    """A token bucket: `rate` a second, twice the rate at once, and always room for one."""

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._most = max(1.0, 2 * rate)
        self._level = self._most
        self._at = time.monotonic()

    def take(self) -> None:
        """Take one. Raises RateLimitedError that says when the next is there."""
        self._fill()
        if self._level < 1:
            raise RateLimitedError(
                "this connection sends faster than its rate; slow down", retry_after_s=max(1.0, 1 / self._rate)
            )
        self._level -= 1

    def wait_s(self) -> float:
        """Take one for what can wait and return 0, or return in how many seconds to ask again.

        A quarter of the burst is left for what cannot wait.
        """
        self._fill()
        needed = min(1 + self._rate / 2, self._most)
        if self._level < needed:
            return (needed - self._level) / self._rate
        self._level -= 1
        return 0.0

    def _fill(self) -> None:
        now = time.monotonic()
        self._level = min(self._most, self._level + (now - self._at) * self._rate)
        self._at = now


@dataclass(frozen=True, slots=True)
class OpenConnection:
    """One connection, ready to verify."""

    config: ConnectionConfig
    receiver: WebhookReceiver
    door: GateDoor | None
    bucket: Bucket
    fingerprint: bytes


class _Lock(asyncio.Lock):
    """Knows how many have it or wait for it."""

    users = 0


class Connections:
    """Opens connections by id."""

    def __init__(self, load: Load, unseal: Unseal, platforms: Mapping[str, PlatformDeclaration]) -> None:
        self._load = load
        self._unseal = unseal
        self._platforms = platforms
        self._open: dict[str, tuple[float, OpenConnection]] = {}
        self._unknown: dict[str, float] = {}
        self._looking: dict[str, _Lock] = {}

    def opened(self, name: str) -> OpenConnection | None:
        """Return a connection that was looked at lately; None says only that `get` has to look."""
        cached = self._open.get(name)
        return cached[1] if cached is not None and cached[0] > time.monotonic() else None

    async def get(self, name: str) -> OpenConnection:
        """Return a connection.

        Raises NotFoundError, UnavailableError (database away, or the connection is paused), ConfigurationError.
        """
        found = self.opened(name)
        if found is not None:
            return found
        now = time.monotonic()
        if (
            not (0 < len(name) <= _MAX_NAME and name.isascii() and name.isprintable())
            or self._unknown.get(name, 0.0) > now
        ):
            raise _unknown()
        async with self._alone(name):
            cached = self._open.get(name)
            if cached is not None and cached[0] > time.monotonic():
                return cached[1]
            return await self._reload(name, None if cached is None else cached[1])

    @asynccontextmanager
    async def _alone(self, name: str) -> AsyncIterator[None]:
        """Look up one name once at a time; nothing is kept of a name that nobody waits for, whoever made it up."""
        lock = self._looking.get(name) or self._looking.setdefault(name, _Lock())
        lock.users += 1
        try:
            async with lock:
                yield
        finally:
            lock.users -= 1
            if not lock.users:
                del self._looking[name]

    def last_known(self, name: str) -> OpenConnection | None:
        """Return a connection as it was when the database last told it; None for one that was paused or is unknown.

        Only good for saying that nothing can be decided now, in a form that its other side believes.
        """
        cached = self._open.get(name)
        return None if cached is None else cached[1]

    async def _reload(self, name: str, before: OpenConnection | None) -> OpenConnection:
        stored = await self._load(name)
        if stored is None:
            self._open.pop(name, None)
            if len(self._unknown) >= _MAX_UNKNOWN:
                self._unknown.clear()
            self._unknown[name] = time.monotonic() + UNKNOWN_S
            raise _unknown()
        if stored.state != "active":
            self._open.pop(name, None)
            raise UnavailableError("this connection is paused; send it again later", retry_after_s=PAUSED_RETRY_S)
        mark = _fingerprint(stored)
        if before is None or before.fingerprint != mark:
            before = await asyncio.to_thread(self._opened, stored, mark)
        self._open[name] = (time.monotonic() + CACHE_S, before)
        return before

    def _opened(self, stored: StoredConnection, mark: bytes) -> OpenConnection:
        platform = self._platforms.get(stored.platform)
        if platform is None:
            raise ConfigurationError(f"connection {stored.id} names the unknown platform {stored.platform!r}")

        def secret(name: str) -> bytes:
            if name not in stored.sealed:
                raise NotFoundError(f"connection {stored.id} has no secret {name}", field=name)
            try:
                return self._unseal(stored.sealed[name], secret_aad(stored.id, name))
            except HsmError as error:
                raise ConfigurationError(f"secret {name} of connection {stored.id} does not open: {error}") from error

        config = ConnectionConfig(
            ConnectionId(stored.id), stored.platform, stored.settings, secret, tuple(sorted(stored.sealed))
        )
        return OpenConnection(
            config=config,
            receiver=platform.receiver(config),
            door=None if platform.gate is None else platform.gate(config),
            bucket=Bucket(_rate(stored.settings.get(RATE_SETTING, ""))),
            fingerprint=mark,
        )


def _rate(text: str) -> float:
    try:
        return min(max(float(text), 0.1), 1e6) if text else DEFAULT_RATE
    except ValueError as error:
        raise ConfigurationError(
            f"{RATE_SETTING} must be a number of deliveries a second", field=RATE_SETTING
        ) from error


def _fingerprint(stored: StoredConnection) -> bytes:
    """What changes whenever the connection or one of its secrets does."""
    digest = hashlib.sha256(f"{stored.platform}|{stored.version}|{sorted(stored.settings.items())}".encode())
    for name in sorted(stored.sealed):
        digest.update(f"|{name}|".encode() + hashlib.sha256(stored.sealed[name]).digest())
    return digest.digest()


def _unknown() -> NotFoundError:
    return NotFoundError("there is no such connection")
