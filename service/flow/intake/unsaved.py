"""The records that changed since the stored snapshot, as they were copied: what the next snapshot has to write.

Rules: pure; for one engine. Nothing is dropped before a stored snapshot covers it, whoever wrote that: a snapshot that
failed is simply written again, with what changed since. Of each record only the newest form is kept, so memory is bounded
by the number of records, not of events. What is kept is text and bytes alone, because tens of thousands of objects that the
garbage collector follows would make each of its rounds a pause.
"""

from collections.abc import Iterator, Sequence

from rules.learning import StateChange


class Unsaved:
    """Changes up to sequence number `upto`; at first that of the snapshot that the engine was built from.

    They may be some of those changes only; what `whole` yields is a snapshot's when all up to `upto` were added.
    """

    def __init__(self, upto: int) -> None:
        self.upto = upto
        self._states: dict[int, dict[str, bytes]] = {}
        """By kind and entity."""

    def __len__(self) -> int:
        """Return how many records are kept."""
        return sum(map(len, self._states.values()))

    def add(self, changes: Sequence[StateChange], seq: int) -> None:
        """Keep records as they stand at `seq`; never while what `whole` yields is being read."""
        for change in changes:
            self._states.setdefault(change.kind, {})[change.entity] = change.state
        self.upto = seq

    def whole(self) -> Iterator[StateChange]:
        """Yield every change kept; they stay until `covered` says that a snapshot has them."""
        return (
            StateChange(kind, entity, state)
            for kind, states in self._states.items()
            for entity, state in states.items()
        )

    def covered(self, seq: int) -> None:
        """Note that a snapshot is stored at `seq`, and drop all if it has all; some would have to be told from the rest."""
        if seq >= self.upto:
            self._states = {}
