"""Random bytes for identifiers, drawn from the system many at a time.

Rules: for what has to be different, never for what has to be secret: keys, tokens, salts and nonces come from `secrets`.
No two callers get the same bytes, whatever thread or process they are in: a piece is taken by one operation, and a forked
process throws away what its parent had drawn.
"""

import os
from collections import deque
from typing import Final

DRAWN: Final = 256
"""Pieces that are drawn at once."""


class Pieces:
    """Random pieces of one size, in bytes."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._drawn: deque[bytes] = deque()
        os.register_at_fork(after_in_child=self._drawn.clear)

    def take(self) -> bytes:
        """Return a piece that nobody else has."""
        while True:
            try:
                return self._drawn.pop()
            except IndexError:
                size, block = self._size, os.urandom(self._size * DRAWN)
                self._drawn.extend(block[at : at + size] for at in range(0, len(block), size))
