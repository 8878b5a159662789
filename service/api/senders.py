"""Who sends to a connection from outside: a brake on addresses that have shown no right signature there yet.

Rules: a connection's rate is spent by verified deliveries alone, so nobody without its keys can use it up. What fails to
verify is counted by connection and client address (`failures.py`), and beyond the limit further deliveries from there are
refused before their body is read. An address from which the connection verified something is never braked: many senders
may share one (a proxy, a platform's own servers), and a flood must not silence the genuine one among them.
"""

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

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

    @contextmanager
    def verifying(self, connection: OpenConnection, client: str) -> Iterator[None]:
        """Wrap what verifies a delivery: charge the connection for a verified one, the client for any other.

        Raises RateLimitedError when the connection's rate is spent, and what it wraps raises.
        """
        try:
            yield
        except UnauthenticatedError:
            self._failures.note(_key(connection, client))
            raise
        except InputError:
            # Verified but malformed, as the ports say.
            self._verified(connection, client)
            raise
        self._verified(connection, client)

    def _verified(self, connection: OpenConnection, client: str) -> None:
        key = _key(connection, client)
        self._proven[key] = None
        self._proven.move_to_end(key)
        if len(self._proven) > MAX_KEYS:
            self._proven.popitem(last=False)
        connection.bucket.take()


def _key(connection: OpenConnection, client: str) -> str:
    return f"{connection.config.id} {client}"
