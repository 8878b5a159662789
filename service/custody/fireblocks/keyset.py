"""Fireblocks' webhook keys (JWKS, RFC 7517): cached by kid, fetched seldom, never from an address a sender names.

Rules: the address is the connection's setting alone. A kid that is not known makes us look again at most once a minute;
a failed fetch is tried again after five seconds, and until one has worked nothing can be said about any signature: that
is our own fault (UnavailableError), not a bad signature. Answers are bounded and redirects are not followed.
"""

import threading
import time
from collections.abc import Callable
from typing import Final

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from service.domain.errors import UnauthenticatedError, UnavailableError
from service.outgoing import new_client

LOOK_AGAIN_S: Final = 60.0
AFTER_FAILURE_S: Final = 5.0
_TIMEOUT_S: Final = 5.0
_WITHIN_S: Final = 10.0
_MAX_BYTES: Final = 64 * 1024
_MAX_KEYS: Final = 50
_MIN_BITS: Final = 2048


class KeySet:
    """The keys at one URL."""

    def __init__(self, url: str, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._url = url
        self._monotonic = monotonic
        self._keys: dict[str, RSAPublicKey] = {}
        self._tried_at: float | None = None
        self._failed = False
        self._lock = threading.Lock()

    def wants_fetch(self, kid: str) -> bool:
        """Say whether `fetch` should be called before this kid is looked up."""
        if kid in self._keys:
            return False
        pause = AFTER_FAILURE_S if self._failed else LOOK_AGAIN_S
        return self._tried_at is None or self._monotonic() - self._tried_at >= pause

    def fetch(self) -> None:
        """Fetch the set, unless another thread just did. A failure is remembered, and told by `key`."""
        before = self._tried_at
        with self._lock:
            if self._tried_at != before:
                return
            try:
                self._keys = _read(_download(self._url))
                self._failed = False
            except (httpx.HTTPError, ValueError, jwt.PyJWTError):
                self._failed = True
            finally:
                self._tried_at = self._monotonic()

    def key(self, kid: str) -> RSAPublicKey:
        """Return a key. Raises UnavailableError when the set could not be fetched, UnauthenticatedError otherwise."""
        found = self._keys.get(kid)
        if found is not None:
            return found
        if self._failed or self._tried_at is None:
            raise UnavailableError("the platform's webhook keys cannot be fetched now", retry_after_s=AFTER_FAILURE_S)
        raise UnauthenticatedError("the webhook's signature does not verify")


def _download(url: str) -> bytes:
    with new_client(httpx.Timeout(_TIMEOUT_S), _WITHIN_S) as client, client.stream("GET", url) as answer:
        answer.raise_for_status()
        parts: list[bytes] = []
        size = 0
        for part in answer.iter_bytes():
            size += len(part)
            if size > _MAX_BYTES:
                raise ValueError("the key set is too large")
            parts.append(part)
    return b"".join(parts)


def _read(text: bytes) -> dict[str, RSAPublicKey]:
    keys = jwt.PyJWKSet.from_json(text.decode()).keys
    found: dict[str, RSAPublicKey] = {}
    for key in keys[:_MAX_KEYS]:
        if key.key_id and isinstance(key.key, RSAPublicKey) and key.key.key_size >= _MIN_BITS:
            found[key.key_id] = key.key
    return found
