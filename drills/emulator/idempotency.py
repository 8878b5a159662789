"""Idempotency-Key: the first answer to a key is given again for 24 h, and the effect happens once.

Rules: a key belongs to one API user and one request; the same key with another method, path or body is refused.
Answers of 5xx are forgotten, so that a retry may succeed.
"""

import hashlib
from dataclasses import dataclass

from drills.emulator.clock import now_s
from drills.emulator.errors import FieldError
from drills.emulator.reply import Reply

LIFETIME_S = 24 * 3600
MAX_KEY_CHARACTERS = 40
SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class _Kept:
    digest: str
    reply: Reply
    until_s: int


class Idempotency:
    """Answers by (API user, key)."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], _Kept] = {}

    def earlier(self, api_key: str, key: str, digest: str) -> Reply | None:
        """Return the first answer to this key, None when it is new; FieldError when it was used for another request."""
        if len(key) > MAX_KEY_CHARACTERS:
            raise FieldError(f"Idempotency-Key: give at most {MAX_KEY_CHARACTERS} characters")
        found = self._kept.get((api_key, key))
        if found is None or found.until_s < now_s():
            return None
        if found.digest != digest:
            raise FieldError("Idempotency-Key: this key was used for another request; use a new one")
        return found.reply

    def keep(self, api_key: str, key: str, digest: str, reply: Reply) -> None:
        """Remember an answer."""
        if reply.status < SERVER_ERROR:
            self._kept[api_key, key] = _Kept(digest, reply, now_s() + LIFETIME_S)


def digest_of(method: str, uri: str, body: bytes) -> str:
    """Return the digest by which two requests count as the same."""
    return hashlib.sha256(f"{method} {uri}\n".encode() + body).hexdigest()
