"""The records that changed since the stored snapshot: what the next snapshot has to write.

Rules: pure; for one engine. Nothing is dropped before a stored snapshot covers it, whoever wrote that: a snapshot that
failed is simply written again, with what changed since. Of each record only the newest form is kept, so memory is bounded
by the number of records, not of events: by twice that number while a snapshot is written, and by once while none can be.
What is kept is text and bytes alone, because tens of thousands of objects that the garbage collector follows would make
each of its rounds a pause.
"""

from collections.abc import Iterator, Sequence

from rules.learning import StateChange

_States = dict[int, dict[str, bytes]]
"""By kind and entity."""


class Unsaved:
    """Changes after sequence number `base`, at which a snapshot was stored, up to `upto`.

    They may be some of those changes only; what `whole` yields is a snapshot's when all up to `upto` were added.
    """

    def __init__(self, base: int) -> None:
        self.base = base
        self.upto = base
        self._cut = base
        # `_older` changed up to `_cut`, `_newer` since: a snapshot at `_cut` or later has all the older.
        self._older: _States = {}
        self._newer: _States = {}

    def __len__(self) -> int:
        """Return how many changes are kept, some twice."""
        return sum(len(states) for kept in (self._older, self._newer) for states in kept.values())

    def add(self, changes: Sequence[StateChange], seq: int) -> None:
        """Keep records as they stand at `seq`."""
        for change in changes:
            self._newer.setdefault(change.kind, {})[change.entity] = change.state
        self.upto = seq

    def whole(self) -> Iterator[StateChange]:
        """Yield every change kept, as of now; they stay until `covered` says that a snapshot has them."""
        self.merge()
        # Nothing is added to these while they are read: the next call comes after this snapshot has ended.
        return (
            StateChange(kind, entity, state) for kind, states in self._older.items() for entity, state in states.items()
        )

    def merge(self) -> None:
        """Keep each record once, at the price that only a snapshot from here on covers any of them.

        Never while what `whole` yields is being read.
        """
        for kind, states in self._newer.items():
            self._older.setdefault(kind, {}).update(states)
        self._newer = {}
        self._cut = self.upto

    def covered(self, seq: int) -> None:
        """Drop what the snapshot that is stored at `seq` has."""
        if seq >= self.upto:
            self._older, self._newer = {}, {}
            self.base = self._cut = self.upto
        elif seq >= self._cut:
            self._older, self._newer = self._newer, {}
            self.base, self._cut = self._cut, self.upto
