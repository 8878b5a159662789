"""Which of the waiting requests to the sequence a batch takes, so that none can stop intake.

Rules: all, as a rule. After a batch with some of them failed for no reason that is known, one at a time; if an item fails
with one and is stored without it, three times over, that one is refused. An item that fails without any is broken itself.
While any is left out, what it may tighten is not in force: questions before signing are held meanwhile.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final

from service.domain.intake import LearningRequest

TRIES: Final = 3
"""A disk that was full for a moment makes no request broken."""


class Suspects:
    """Of one process. A batch calls `admitted` if it looks at requests, and then `committed`, `failed` or `given_up`."""

    def __init__(self) -> None:
        self._apart = False
        self._taken: list[int] = []
        """What the batch under way has taken."""
        self._left = 0
        """How many it left for later."""
        self._suspect: int | None = None
        """The request without which an item is tried."""
        self._failures: Counter[int] = Counter()

    def admitted(self, requests: Sequence[LearningRequest]) -> Sequence[LearningRequest]:
        """Return those that a batch takes, the broken ones among them."""
        broken = [request for request in requests if self.broken(request)]
        others = [request for request in requests if not self.broken(request)]
        found = others[:1] if self._apart else others
        if self._suspect is not None:
            found = []
        self._taken, self._left = [request.id for request in found], len(others) - len(found)
        return [*broken, *found]

    def broken(self, request: LearningRequest) -> bool:
        """Say whether a request must be refused unread."""
        return self._failures[request.id] >= TRIES

    @property
    def left_out(self) -> bool:
        """Say whether the batch under way leaves any for later."""
        return self._left > 0

    def committed(self) -> None:
        """The batch was stored."""
        if self._suspect is not None:
            self._failures[self._suspect] += 1
            self._suspect = None
        elif not self._left:
            self._apart = False
        for number in self._taken:
            self._failures.pop(number, None)
        self._taken = []

    def failed(self, *, alone: bool) -> bool:
        """The batch was not stored, for no reason that is known; `alone`: of one item. Say whether to try that again."""
        taken, self._taken = self._taken, []
        if not taken:
            self._suspect = None
            return False
        if alone and len(taken) == 1:
            self._suspect = taken[0]
        self._apart, self._left = True, len(taken)
        return alone

    def given_up(self) -> None:
        """The batch was not stored for a reason that is known: nobody is to blame."""
        self._taken, self._suspect = [], None
