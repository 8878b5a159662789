"""Health, and the stream of events: names and ids only; whoever listens re-reads under his own rights.

Rules: the stream is read from the outbox, so that it misses nothing and needs no Redis; `Last-Event-ID` continues where a
connection broke; a listener's token is checked again every few seconds, and the stream of a revoked one ends. Health
answers anybody with one word; what waits is for those who may read.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import asdict
from typing import Annotated, Any, Final, cast

import msgspec
from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from service.api.auth import Principal
from service.api.deps import READERS, Parts, Reader, require
from service.api.feed import Feed
from service.api.schemas.access import BudgetShown, CalibrationShown, HealthShown, RulesShown, StateShown
from service.domain.errors import PortcullisError, UnavailableError
from service.store.queries import waiting

router = APIRouter(prefix="/v1", tags=["live"])

RECHECK_S: Final = 5.0
BACKLOG_S: Final = 60.0
"""An event that no worker took for so long means that the workers are not doing their work."""

_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "`text/event-stream`",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 4711\nevent: incident_opened\ndata: {"event": "incident_opened", "ids": '
                '{"incident_id": "inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R"}}\n\n',
            }
        },
    }
}


@router.get(
    "/health",
    summary="Whether the service can do its work; answers anybody, and tells no details",
)
def health(parts: Parts) -> HealthShown:
    """Return ok, or degraded when events wait for their workers. Raises UnavailableError without a database."""
    try:
        with parts.database.begin() as uow:
            since = waiting.waiting_since(uow.connection)
            late = since is not None and (uow.now - since).total_seconds() > BACKLOG_S
    except PortcullisError as error:
        raise UnavailableError("degraded: the database is away", retry_after_s=5) from error
    return HealthShown(status="degraded" if late else "ok")


@router.get("/health/details", summary="What waits, which detectors are in force, how well the engine is calibrated")
def health_details(request: Request, parts: Parts, _reader: Reader) -> StateShown:
    """Return the counts."""
    with parts.database.begin() as uow:
        since = waiting.waiting_since(uow.connection)
        waits_s = 0.0 if since is None else max(0.0, (uow.now - since).total_seconds())
        counts = waiting.counts(uow.connection)
        differences = list(uow.blinding.differences())
        engine = parts.engine_health()
        last = waiting.last_sequence(uow.connection)
    rules = None if parts.rulebook is None else parts.rulebook.state
    finding = differences or (rules is not None and rules.finding)
    return StateShown(
        status="degraded" if waits_s > BACKLOG_S or finding else "ok",
        suppressions_differ=differences,
        oldest_event_waits_s=round(waits_s, 3),
        listeners=feed_of(request).listeners,
        rules=None if rules is None else RulesShown(**asdict(rules)),
        sequence=None if engine is None else engine.sequence,
        rows_behind=None if engine is None else max(0, last - engine.sequence),
        calibrations=[CalibrationShown(**msgspec.structs.asdict(one)) for one in engine.calibrations] if engine else [],
        budgets=[BudgetShown(**msgspec.structs.asdict(one)) for one in engine.budgets] if engine else [],
        **counts,
    )


@router.get(
    "/events",
    summary="Server-sent events: what happened, by name and ids",
    response_class=StreamingResponse,
    responses=_STREAM,
)
async def events(
    request: Request,
    reader: Reader,
    last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{1,18}$")] = None,
) -> StreamingResponse:
    """Stream events from now on, or from after `Last-Event-ID`."""
    check = require(READERS)
    after = None if last_event_id is None else int(last_event_id)
    return EventStream(feed_of(request), reader, after, lambda: check(request))


def feed_of(request: Request) -> Feed:
    """Return this process's stream of events."""
    return cast("Feed", request.app.state.feed)


class EventStream(StreamingResponse):
    """A stream that holds its listener's seat for exactly as long as it is sent."""

    def __init__(self, feed: Feed, listener: Principal, after: int | None, check: Callable[[], Principal]) -> None:
        headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
        super().__init__(self._lines(after), media_type="text/event-stream", headers=headers)
        self._feed = feed
        self._listener = listener
        self._check = check

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send; see the ASGI specification."""
        with self._feed.seat(self._listener.token_id):
            await super().__call__(scope, receive, send)

    async def _lines(self, after: int | None) -> AsyncIterator[bytes]:
        yield b"retry: 2000\n\n"
        checked_at = self._now()
        try:
            async with aclosing(self._feed.follow(after, RECHECK_S)) as told:
                async for one in told:
                    if self._now() - checked_at >= RECHECK_S or one is None:
                        await run_in_threadpool(self._check)
                        checked_at = self._now()
                    yield b": still here\n\n" if one is None else one.encoded()
        except PortcullisError:
            # Refused from now on, or nobody can tell: the stream ends, and coming back gets the reason.
            return

    def _now(self) -> float:
        return asyncio.get_running_loop().time()
