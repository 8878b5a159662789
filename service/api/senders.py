"""Who sends to a connection from outside: a brake on addresses that have shown no right signature there yet.

Rules: a connection's rate is spent by verified deliveries alone, so nobody without its keys can use it up. What fails to
verify is counted by connection and client address (`failures.py`), and beyond the limit further deliveries from there are
refused before their body is read. An address from which the connection verified something is never braked: many senders
may share one (a proxy, a platform's own servers), and a flood must not silence the genuine one among them.
"""

from collections import OrderedDict
from types import TracebackType
from typing import Final, Self

from service.api.connections import OpenConnection
from service.api.failures import MAX_KEYS, Failures
from service.domain.errors import InputError, RateLimitedError, UnauthenticatedError

UNVERIFIED_LIMIT: Final = 600
"""Deliveries within a minute that may fail to verify: ten a second cost little and leave a new, genuine sender room."""


class Senders:
    """Counts failures and remembers who was right, in this process; for one event loop."""

    def __init__(self, failures: Failures | None = None) -> None:
        self._failures = failures or Failures(limit=UNVERIFIED_LIMIT)
        self._proven: OrderedDict[str, None] = OrderedDict()

    def admit(self, connection: OpenConnection, client: str) -> None:
        """Raise RateLimitedError while too much of what this client (`failures.address_of`) sends does not verify."""
        key = _key(connection, client)
        wait_s = 0.0 if key in self._proven else self._failures.wait_s(key)
        if client and wait_s:
            raise RateLimitedError("too many unverified deliveries from this address; wait", retry_after_s=wait_s)

    def verifying(self, connection: OpenConnection, client: str) -> "_Verifying":
        """Wrap what verifies a delivery: charge the connection for a verified one, the client for any other.

        Raises RateLimitedError when the connection's rate is spent, and what it wraps raises.
        """
        return _Verifying(self, connection, _key(connection, client))

    def refused(self, key: str) -> None:
        """Count what did not verify."""
        self._failures.note(key)

    def verified(self, connection: OpenConnection, key: str) -> None:
        """Remember who was right. Raises RateLimitedError."""
        if key in self._proven:
            self._proven.move_to_end(key)
        else:
            self._proven[key] = None
            if len(self._proven) > MAX_KEYS:
                self._proven.popitem(last=False)
        connection.bucket.take()


class _Verifying:
    """The block of `Senders.verifying`."""

    __slots__ = ("_connection", "_key", "_put_off", "_senders")

    def __init__(self, senders: Senders, connection: OpenConnection, key: str) -> None:
        self._senders = senders
        self._connection = connection
        self._key = key
        self._put_off = False

    def __enter__(self) -> Self:
        """Nothing is charged before the outcome is known."""
        return self

    def put_off(self) -> None:
        """Nothing was verified yet: charge nobody."""
        self._put_off = True

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _where: TracebackType | None
    ) -> None:
        if self._put_off:
            return
        if kind is None or issubclass(kind, InputError):
            # An InputError is verified but malformed, as the ports say.
            self._senders.verified(self._connection, self._key)
        elif issubclass(kind, UnauthenticatedError):
            self._senders.refused(self._key)


def _key(connection: OpenConnection, client: str) -> str:
    return f"{connection.config.id} {client}"
