"""The gate before signing: approve, hold or reject, within the deadline, whatever happens to us.

Rules:

- The question is an activity like any other: scored, counted and learned once, in the same order as everything else.
- The same request again gets the stored decision. A hold is looked up afresh: it turns into approve once people cleared
  the transaction and no hold of ours is in force. A rejection stays.
- What people cleared is one activity. Another question passes by it only where it is stored as a repetition that told the
  same account, asset, destination and amount, and no doubt hangs on it: whatever was changed or added is not cleared.
- A hold of ours on the account, the destination or the connection holds whatever the score says: this is what suspending
  an account means on a platform that asks us (design part 4).
- Our own fault, or a deadline near, is a hold. Work that was begun goes on and is stored; the repeated question finds it.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

import structlog

from service.domain.activity import Received
from service.domain.errors import ConflictError, PortcullisError
from service.domain.gate import GateAnswer, GateQuestion
from service.domain.ids import ActivityId, new_id
from service.domain.intake import GateDecision, Item, Outcome
from service.ports.clock import Clock
from service.ports.store.intake import IntakeStore

_log = structlog.get_logger(__name__)

Submit = Callable[[Item], "asyncio.Future[Outcome]"]

_REASONS: Final = {
    GateDecision.APPROVE: "approved",
    GateDecision.HOLD: "held until people decide",
    GateDecision.REJECT: "refused: what would be signed is not what is shown",
}


def _trace() -> str | None:
    found = structlog.contextvars.get_contextvars().get("trace_id")
    return found if isinstance(found, str) else None


class Gate:
    """Answers questions. `submit` stores one item and returns its outcome after the commit."""

    def __init__(self, submit: Submit, store: IntakeStore, clock: Clock) -> None:
        self._submit = submit
        self._store = store
        self._clock = clock
        self._going_on: set[asyncio.Task[GateAnswer]] = set()

    async def decide(self, question: GateQuestion, *, deadline_s: float) -> GateAnswer:
        """Return the decision within `deadline_s` seconds. Raises ConflictError alone: the id was used for other facts."""
        task = asyncio.get_running_loop().create_task(self._decide(question))
        self._going_on.add(task)
        task.add_done_callback(self._done)
        done, _ = await asyncio.wait({task}, timeout=deadline_s)
        if not done:
            _log.warning("gate.deadline", request_id=question.request_id, deadline_s=deadline_s)
            return GateAnswer(GateDecision.HOLD, "held: no decision in time, ask again")
        try:
            return task.result()
        except ConflictError:
            raise
        except Exception as error:  # noqa: BLE001  any fault of ours holds
            _log.error("gate.fault", request_id=question.request_id, error=type(error).__name__, exc_info=error)
            return GateAnswer(GateDecision.HOLD, "held: the gate could not decide, ask again")

    def _done(self, task: "asyncio.Task[GateAnswer]") -> None:
        self._going_on.discard(task)
        if not task.cancelled():
            task.exception()

    async def _decide(self, question: GateQuestion) -> GateAnswer:
        activity = question.activity
        received = Received(
            activity_id=ActivityId(new_id("act")),
            received_at=self._clock.now(),
            body_digest=hashlib.sha256(question.facts).digest(),
            raw=question.facts,
            activity=activity,
        )
        item = Item(
            received,
            question=question.request_id,
            payload_digest=question.payload_digest,
            doubt=question.doubt,
            trace_id=_trace(),
        )
        outcome = await self._submit(item)
        if outcome.gate is None:
            raise PortcullisError("a question was stored without its decision")
        decision = await self._now(question, outcome)
        return GateAnswer(decision, _REASONS[decision], outcome.decision_id, outcome.judged)

    async def _now(self, question: GateQuestion, outcome: Outcome) -> GateDecision:
        activity = question.activity
        if outcome.gate is GateDecision.REJECT:
            return GateDecision.REJECT
        standing = outcome.standing
        if standing is None:
            raise PortcullisError("holds and clearances could not be looked up")
        if standing.held:
            return GateDecision.HOLD
        doubted = question.doubt is not None
        cleared = standing.cleared or (standing.cleared_alike and not doubted)
        if (outcome.gate is GateDecision.HOLD or doubted) and not cleared:
            return GateDecision.HOLD
        if outcome.gate is GateDecision.HOLD:
            await self._store.let_pass(activity.connection, question.request_id)
        return GateDecision.APPROVE
