"""Held activities, and what people's clearing of one writes."""

from typing import Protocol

from service.domain.clearance import HeldActivity
from service.domain.ids import ActivityId, ApprovalId


class ClearanceStore(Protocol):
    """Reads what may be cleared and notes that it was."""

    def held(self, activity_id: ActivityId) -> HeldActivity:
        """Read one activity that waits to be cleared.

        Raises NotFoundError; ConflictError when it was neither alerted nor held, was rejected, belongs to no
        transaction, or was cleared already.
        """
        ...

    def waiting(self, activity_id: ActivityId) -> tuple[ApprovalId, str] | None:
        """Return id and digest of a request to clear it that nobody has decided and that has not run out."""
        ...

    def let_pass(self, held: HeldActivity, approval_id: ApprovalId) -> None:
        """Note at its transaction by which approval it was cleared; the gate looks there."""
        ...

    def unlearned(self, held: HeldActivity) -> tuple[int, bytes] | None:
        """Return place and bytes of the observation that was scored and not learned, None when there is none.

        It is the activity's own, or for a repetition that of its transaction's first activity, where that told the same.
        """
        ...
