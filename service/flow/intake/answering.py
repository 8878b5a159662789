"""Who waited for a batch is told what became of his item: everybody, whatever comes of telling one of them."""

import asyncio
from collections.abc import Sequence
from copy import copy

import msgspec
import structlog

from service.domain.errors import PortcullisError, UnavailableError
from service.domain.intake import Item, Outcome
from service.flow.intake.waiting import Waiting
from service.ports.store.intake import IntakeTurn

_log = structlog.get_logger(__name__)


def stopping() -> UnavailableError:
    """Return what is said to whoever comes, or still waits, when intake ends."""
    return UnavailableError("the service is stopping: send it again", retry_after_s=5)


def refuse(batch: Sequence[Waiting], error: PortcullisError) -> None:
    """Tell a whole batch of one error."""
    answer_all(batch, [copy(error) for _ in batch])  # one for all would gather the traceback of everybody who waits


def answer_all(batch: Sequence[Waiting], answers: Sequence[Outcome | PortcullisError]) -> None:
    """Tell each item's sender its answer, in order."""
    for (item, settle), answer in zip(batch, answers, strict=True):
        try:
            settle(answer)
        except Exception as error:  # noqa: BLE001  everybody else is still to be answered
            _log.error("intake.not_answered", activity_id=item.received.activity_id, exc_info=error)


def settle_future(future: "asyncio.Future[Outcome]", answer: Outcome | PortcullisError) -> None:
    """Answer by a future, unless whoever waits on it has gone."""
    if future.done():
        return
    if isinstance(answer, PortcullisError):
        future.set_exception(answer)
    else:
        future.set_result(answer)


async def tell_standing(turn: IntakeTurn, items: Sequence[Item], answers: list[Outcome | PortcullisError]) -> None:
    """Tell of each question what holds and clearances say after it was stored; it is stored whatever comes of this."""
    questions = [
        (at, item.received.activity, outcome)
        for at, (item, outcome) in enumerate(zip(items, answers, strict=True))
        if item.question is not None and isinstance(outcome, Outcome)
    ]
    if not questions:
        return
    try:
        found = await turn.standing([(activity, outcome.activity_id) for _, activity, outcome in questions])
    except Exception as error:  # noqa: BLE001  the batch is committed; the gate holds what it cannot look up
        _log.error("intake.standing_unknown", questions=len(questions), exc_info=error)
        return
    for (at, _, outcome), standing in zip(questions, found, strict=True):
        answers[at] = msgspec.structs.replace(outcome, standing=standing)
