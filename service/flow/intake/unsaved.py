"""The records that changed since the stored snapshot: what the next snapshot has to write.

Rules: pure; for one engine. Nothing is dropped before a stored snapshot covers it, whoever wrote that: a snapshot that
failed is simply written again, with what changed since. Of each record only the newest form is kept, so memory is bounded
by the number of records, not of events.
"""

from collections.abc import Sequence

from rules.learning import StateChange

_Key = tuple[int, str]


class Unsaved:
    """Changes after sequence number `base`, at which a snapshot was stored, up to `upto`."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.upto = base
        self._cut = base
        # `_older` changed up to `_cut`, `_newer` since: a snapshot at `_cut` or later has all the older.
        self._older: dict[_Key, StateChange] = {}
        self._newer: dict[_Key, StateChange] = {}

    def __len__(self) -> int:
        """Return how many changes are kept, some twice."""
        return len(self._older) + len(self._newer)

    def add(self, changes: Sequence[StateChange], seq: int) -> None:
        """Keep what changed up to `seq`."""
        self._newer.update(((change.kind, change.entity), change) for change in changes)
        self.upto = seq

    def whole(self) -> Sequence[StateChange]:
        """Return every change up to `upto`; they stay until `covered` says that a snapshot has them."""
        self._older |= self._newer
        self._newer = {}
        self._cut = self.upto
        return list(self._older.values())

    def covered(self, seq: int) -> None:
        """Drop what the snapshot that is stored at `seq` has."""
        if seq >= self.upto:
            self._older, self._newer = {}, {}
            self.base = self._cut = self.upto
        elif seq >= self._cut:
            self._older, self._newer = self._newer, {}
            self.base, self._cut = self._cut, self.upto
