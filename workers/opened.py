"""Secrets of connections that were just unsealed, kept in this child for a moment (ADR 0048).

Rules: unsealing one takes an RSA operation of some milliseconds inside the token, and every call of a hold signs with one.
So what signs calls is kept for `KEPT_S` after it was unsealed and dropped then, by a timer, whether or not anybody asks
again. It is found by its sealed bytes together with the connection and name they are bound to, as unsealing checks: a
secret that is changed is never the old one, and bytes copied into another connection's row open nothing. A private key
that is handed in to be imported is not kept. The process keeps its memory to itself (`hsm/memory.py`); Python cannot wipe
what it drops.
"""

import threading
from collections.abc import Callable
from typing import Final

KEPT_S: Final = 60.0


class Opened:
    """What is kept; safe for several threads."""

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._kept: dict[tuple[bytes, bytes], bytes] = {}

    def get(self, aad: bytes, sealed: bytes, unseal: Callable[[bytes, bytes], bytes]) -> bytes:
        """Return what `sealed` holds, by `unseal(sealed, aad)` when it is not kept. Raises what that raises."""
        found = self._kept.get((aad, sealed))
        if found is None:
            found = self._kept[aad, sealed] = unseal(sealed, aad)
            timer = threading.Timer(self._kept_s, self._kept.pop, ((aad, sealed), None))
            timer.daemon = True
            timer.start()
        return found

    def __repr__(self) -> str:
        return f"Opened({len(self._kept)} secrets)"
