"""What workers asked platforms for becomes activities, through the same intake as everything else.

Rules: an event counts as taken once it is stored or refused for good; what could not be stored stays and is tried again.
What cannot be stored does not keep back what came after it, however much it is: a look goes on where the last one ended, and
begins anew when it found the end.
Two processes may take the same event: its id makes the second a repetition.
"""

import asyncio
import hashlib
from collections.abc import Callable
from typing import Final

import msgspec
import structlog

from service.domain.activity import Activity, Received
from service.domain.errors import PortcullisError, RetryKind
from service.domain.ids import ActivityId, new_id
from service.domain.intake import Item, Outcome
from service.ports.store.polling import PolledStore, WaitingEvent

LOOK_EVERY_S: Final = 2.0
AT_ONCE: Final = 200
_MOST_TRACES: Final = 3
_MOST_TOLD: Final = 10_000
"""Defects that are logged, once each, until the process starts anew."""

_log = structlog.get_logger(__name__)


class PolledIntake:
    """Hands events to `submit`, which stores one item and returns its outcome after the commit."""

    def __init__(self, submit: Callable[[Item], "asyncio.Future[Outcome]"], store: PolledStore) -> None:
        self._submit = submit
        self._store = store
        self._after = 0
        self._told: set[int] = set()

    async def run(self, every_s: float = LOOK_EVERY_S) -> None:
        """Look until cancelled; an error is logged and the next look tries again."""
        while True:
            try:
                await self.look()
                busy = self._after > 0
            except PortcullisError as error:
                busy = False
                _log.warning("polled.not_taken", error_code=error.code, message=str(error))
            except Exception as error:  # noqa: BLE001  nothing else takes polled events: this outlives a defect of ours
                busy = False
                _log.error("polled.not_taken", exc_info=error)
            if not busy:
                await asyncio.sleep(every_s)

    async def look(self) -> int:
        """Take some of what waits, at most 200 events; return how many were taken."""
        waiting = await self._store.waiting(AT_ONCE, self._after)
        told = await asyncio.gather(*(self._take(one) for one in waiting))
        taken = [one.id for one, done in zip(waiting, told, strict=True) if done]
        if taken:
            await self._store.taken(taken)
        self._after = waiting[-1].id if len(waiting) == AT_ONCE else 0
        return len(taken)

    async def _take(self, one: WaitingEvent) -> bool:
        try:
            await self._submit(Item(_received(one)))
        except PortcullisError as error:
            if error.retry is not RetryKind.NEVER:
                return False
            _log.error("polled.refused", event_id=one.event_id, error_code=error.code, message=str(error))
        except msgspec.MsgspecError as error:
            _log.error("polled.refused", event_id=one.event_id, message=str(error))
        except Exception as error:  # noqa: BLE001  it stays, and does not keep back those beside it
            if one.id not in self._told and len(self._told) < _MOST_TOLD:
                self._told.add(one.id)
                trace = error if len(self._told) <= _MOST_TRACES else None
                _log.error("polled.not_taken", event_id=one.event_id, error=type(error).__name__, exc_info=trace)
            return False
        return True


def _received(one: WaitingEvent) -> Received:
    activity = Activity(
        connection=one.connection,
        event_id=one.event_id,
        kind=f"other.{one.event_type}",
        occurred_at=one.received_at,
    )
    if one.activity is not None:
        activity = msgspec.json.decode(one.activity, type=Activity)
    return Received(
        activity_id=ActivityId(new_id("act")),
        received_at=one.received_at,
        body_digest=hashlib.sha256(one.raw).digest(),
        raw=one.raw,
        activity=activity,
    )
