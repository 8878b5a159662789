"""Event ids as 64-bit digests: joined to verdicts by them, and checked to be unique, at eight bytes an event."""

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt

Digests = npt.NDArray[np.uint64]


def digests(identities: Any) -> Digests:
    """One digest for each text of an Arrow column (BLAKE2b, RFC 7693, 8 bytes)."""
    joined = b"".join(hashlib.blake2b(text.encode(), digest_size=8).digest() for text in identities.to_pylist())
    return np.frombuffer(joined, np.dtype("<u8")).astype(np.uint64)


class Seen:
    """All ids so far, in sorted runs that double in length, so that n ids cost n log n."""

    def __init__(self) -> None:
        self._runs: list[Digests] = []

    def again(self, found: Digests) -> int | None:
        """Take these in; the position of the first that was seen before, or ``None``."""
        order = np.argsort(found, kind="stable")
        run = found[order]
        twice = np.zeros(len(found), dtype=bool)
        twice[order[1:]] = run[1:] == run[:-1]
        for older in self._runs:
            place = np.minimum(np.searchsorted(older, found), len(older) - 1)
            twice |= older[place] == found
        if twice.any():
            return int(np.argmax(twice))
        while self._runs and len(self._runs[-1]) <= len(run):
            run = np.sort(np.concatenate((self._runs.pop(), run)))
        if len(run):
            self._runs.append(run)
        return None
