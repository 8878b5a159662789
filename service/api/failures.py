"""Counting failed proofs of identity, in this process alone: a brake on guessing, never the lock itself.

Rules: memory is bounded, the longest-silent key goes first; counts end with their window; nobody who has shown a right
token here before is ever braked by what others get wrong (`auth.py`), so that failing on purpose locks nobody out. IPv6
clients are counted by /64, because one client has all of it.
"""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Final

LIMIT: Final = 20
"""Failures within a window that are answered at once."""
WINDOW_S: Final = 60.0
MAX_KEYS: Final = 10_000
_IPV6_PREFIX: Final = 64


class Failures:
    """Failures by key within a fixed window; safe to share between threads."""

    def __init__(self, *, limit: int = LIMIT, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._counts: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def note(self, key: str) -> None:
        """Count one failure."""
        now = self._monotonic()
        with self._lock:
            until, count = self._counts.pop(key, (0.0, 0))
            self._counts[key] = (until, count + 1) if until > now else (now + WINDOW_S, 1)
            if len(self._counts) > MAX_KEYS:
                self._counts.popitem(last=False)

    def wait_s(self, key: str) -> float:
        """Return for how many seconds nothing new is looked at for this key; 0 below the limit."""
        with self._lock:
            until, count = self._counts.get(key, (0.0, 0))
        return max(0.0, until - self._monotonic()) if count >= self._limit else 0.0


def address_of(scope: Mapping[str, Any]) -> str:
    """Return what a client is counted by: its IPv4 address, its IPv6 /64, or nothing when the server does not tell."""
    client = scope.get("client")
    return counted_by(client[0]) if client else ""


@lru_cache(maxsize=4096)
def counted_by(host: str) -> str:
    """Return what the client at a host is counted by."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return str(host)
    if isinstance(address, ipaddress.IPv4Address):
        return str(address)
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(ipaddress.ip_network((address, _IPV6_PREFIX), strict=False))
