"""Secrets of connections that were just unsealed, kept in this child for a moment (ADR 0048).

Rules: unsealing one takes an RSA operation of some milliseconds inside the token, and every call of a hold signs with one.
So what signs calls is kept for `KEPT_S` after it was unsealed and dropped then, by a timer, whether or not anybody asks
again. It is found by its sealed bytes and by what they are bound to, which unsealing checks: so a secret that is changed is
never the old one, and sealed bytes that somebody copied to another connection are refused there as ever. A private key that
is handed in to be imported is not kept. The process keeps its memory to itself (`hsm/memory.py`); Python cannot wipe what
it drops.
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

    def get(self, sealed: bytes, bound_to: bytes, unseal: Callable[[bytes, bytes], bytes]) -> bytes:
        """Return what `sealed` holds, by `unseal` of both when it is not kept. Raises what `unseal` raises."""
        key = sealed, bound_to
        found = self._kept.get(key)
        if found is None:
            found = self._kept[key] = unseal(sealed, bound_to)
            timer = threading.Timer(self._kept_s, self._kept.pop, (key, None))
            timer.daemon = True
            timer.start()
        return found

    def __repr__(self) -> str:
        return f"Opened({len(self._kept)} secrets)"
