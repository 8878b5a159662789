"""From an alert to the claim of its hold in two transactions, by the child that took the alert (ADR 0052).

Rules: triage, plan and claim are the functions that every child calls for the jobs of their events, in the same order, and
each writes its transition, its audit entry and its events. Plan and claim share a transaction, because a hold waits for
each begin and commit; triage has its own, because all triage waits for its lock, and a plan takes as long as its alert
names much. None of it has an effect outside the database. The intent comes after the commits, and waits for the disk as
ever. When any of it fails, the alert goes the long way, job by job: what one of them cannot do keeps the others from
nothing. While another alert waits, what follows a hold's answer, to verify it and to note what was done, is left until none
does (`finish`): the receipt is written, and the step is due for whoever comes first (ADR 0061).
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Final

from service.domain.events import Event
from service.domain.ids import AlertId, IncidentId, StepId
from service.domain.line import MOST_AT_ONCE, PAST_THE_LINE
from service.flow import contain, respond, triage
from service.flow.contain import Hands, Taken
from service.flow.respond import Desk
from service.store.database import SqlDatabase
from service.store.unit_of_work import SqlUnitOfWork
from workers.containment import go_on
from workers.jobs import Root, begin, bound, note
from workers.publish import Message, Waiting
from workers.retry import log_failure

PLANNING: Final[dict[str, Callable[[Desk, IncidentId], None]]] = {
    "respond.plan": respond.plan,
    "respond.extend": respond.extend,
}
HOLDING: Final = "contain.step"
MOST_LEFT: Final = 50
"""Steps whose rest may be left at the same time; the sweeper finds them, too, a second later."""


class Lent:
    """Stands for the database where several jobs share one transaction."""

    def __init__(self, uow: SqlUnitOfWork) -> None:
        self._uow = uow

    @contextmanager
    def begin(self, *, on_disk: bool = True) -> Iterator[SqlUnitOfWork]:  # noqa: ARG002  who lends it says so
        """Lend the transaction; whoever opened it commits."""
        yield self._uow


@dataclass(frozen=True, slots=True)
class Straight:
    """What the alarm child does with an alert."""

    db: SqlDatabase
    desk: Desk
    hands: Hands
    left: deque[tuple[StepId, list[Message]]] = field(default_factory=deque)
    """Steps whose call was answered, the oldest first, each with what is noted once it is verified."""

    def go(self, root: Root, message: Message, more: Callable[[], bool] = lambda: False) -> None:
        """Do an alert and what leads to its hold, and note what worked; whatever goes wrong, the sweeper finds it.

        `more` says whether another alert waits.
        """
        try:
            with bound(message):
                done, taken = self.claim(message)
        except Exception as error:  # noqa: BLE001  job by job it may get further
            log_failure(message.job, error, None)
            begin(root, message)
            return
        if taken is not None:
            with bound(done[-1]):
                try:
                    if (left := self.hold(taken, more)) is not None:
                        self.left.append((left, done))
                        return
                except Exception as error:  # noqa: BLE001  judged by whoever gets the published copy
                    log_failure(done[-1].job, error, None)
                    done.pop()
        root.hurry.take(())
        note(root, done)

    def claim(self, message: Message) -> tuple[list[Message], Taken | None]:
        """Do an alert's triage and plan and claim its first step; return the jobs that are done by it, and the claim.

        Raises what they raise; then no step is claimed.
        """
        taken = None
        with self.db.in_a_row() as row:
            with row.begin(on_disk=False) as uow:
                triage.triage(Lent(uow), AlertId(message.payload["alert_id"]))
            planning = _first(enumerate(uow.events), message, *PLANNING)  # numbers are known after the commits
            if planning is not None:
                with row.begin(on_disk=False) as uow:
                    taken = self._plan(uow, planning)
        todo = (*PLANNING, HOLDING)
        return [message, *(one for uow in row.done if (one := _first(uow.left, message, *todo)) is not None)], taken

    def _plan(self, uow: SqlUnitOfWork, planning: Message) -> Taken | None:
        PLANNING[planning.job](replace(self.desk, db=Lent(uow)), IncidentId(planning.payload["incident_id"]))
        holding = _first(enumerate(uow.events), planning, HOLDING)
        first = replace(self.hands, most_at_once=MOST_AT_ONCE + PAST_THE_LINE)
        return None if holding is None else contain.take(first, uow, StepId(holding.payload["step_id"]))

    def hold(self, taken: Taken, more: Callable[[], bool] = lambda: False) -> StepId | None:
        """Work on what was claimed, and on what it made room for; return the step if its rest was left."""
        hands = replace(self.hands, leaves=more) if len(self.left) < MOST_LEFT else self.hands
        after = contain.work(hands, taken)
        if after == taken.claim.step.id:
            return after
        go_on(self.hands, after)
        return None

    def finish(self, root: Root) -> bool:
        """Do the oldest rest that was left; say whether there was one. What goes wrong is the sweeper's, as ever."""
        if not self.left:
            return False
        step, done = self.left.popleft()
        with bound(done[-1]):
            try:
                go_on(self.hands, step)
            except Exception as error:  # noqa: BLE001  judged by whoever gets the published copy
                log_failure(done[-1].job, error, None)
                done.pop()
        root.hurry.take(())
        note(root, done)
        return True


def _first(left: Iterable[tuple[int, Event]], cause: Message, *jobs: str) -> Message | None:
    """Return the first of these jobs that a transaction's events start."""
    for number, event in left:
        waiting = Waiting(number, event.name, event.payload(), cause.trace_id)
        for job in waiting.jobs:
            if job in jobs:
                return Message(job, waiting.payload, cause.trace_id, number)
    return None
