"""BitGo's request and response authentication, version 3 (HMAC-SHA256 under the access token), as its own client has it.

Rules: a request signs `METHOD|timestamp|3.0|path|body`, an answer `METHOD|timestamp|path|status|body`, joined by bars, the
path with its query; the bearer is the SHA-256 of the token in hex, so that the token itself is never sent. An answer is good
from five minutes before until one minute after our clock.
"""

import hashlib
import hmac
from typing import Final

VERSION: Final = "3.0"
_BEFORE_MS: Final = 5 * 60 * 1000
_AFTER_MS: Final = 60 * 1000


def request_headers(token: str, method: str, path: str, body: bytes, now_ms: int) -> dict[str, str]:
    """Return the headers that authenticate one request; `path` includes the query."""
    subject = f"{method}|{now_ms}|{VERSION}|{path}|".encode() + body
    return {
        "Auth-Timestamp": str(now_ms),
        "Authorization": f"Bearer {hashlib.sha256(token.encode()).hexdigest()}",
        "HMAC": hmac.new(token.encode(), subject, hashlib.sha256).hexdigest(),
        "BitGo-Auth-Version": VERSION,
    }


def answer_is_genuine(token: str, asked: tuple[str, str], told: tuple[str, str, int, bytes], now_ms: int) -> bool:
    """Say whether BitGo made this answer, now. `asked`: method and path. `told`: timestamp, hmac, status and body."""
    method, path = asked
    timestamp, mac, status, body = told
    if not timestamp.isascii() or not timestamp.isdigit() or len(timestamp) > len(str(now_ms)) or not mac.isascii():
        return False
    subject = f"{method}|{timestamp}|{path}|{status}|".encode() + body
    good = hmac.compare_digest(hmac.new(token.encode(), subject, hashlib.sha256).hexdigest(), mac.lower())
    return good and now_ms - _BEFORE_MS <= int(timestamp) <= now_ms + _AFTER_MS
