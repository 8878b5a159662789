"""What was found about activities, as it is stored: for explaining it, drawing it, and feeding verdicts back."""

from collections.abc import Sequence
from typing import Final, Protocol

from service.domain.explaining import Assessed
from service.domain.ids import ActivityId
from service.domain.picture import Point

MOST_POINTS: Final = 2_000
"""Activities of one account or actor that a picture shows at most."""


class FindingStore(Protocol):
    """Reads; locks nothing."""

    def assessed(self, activity_id: ActivityId) -> Assessed:
        """Return one activity with its assessment and the levels that were in force. Raises NotFoundError."""
        ...

    def past(self, of: Assessed) -> tuple[Sequence[Point], bool]:
        """Return what the account (the actor, where there is no account) did in the 90 days before, and if that is all.

        Only activities of the same family (withdrawals, access …), at most `MOST_POINTS`, the newest; one transaction
        counts once, at its first activity. A bounded number of activities is looked through, which ends after seconds;
        what that raises leaves the transaction as it was.
        """
        ...
