"""Health, and the stream of events: names and ids only; whoever listens re-reads under his own rights.

The stream is read from the outbox, so that it misses nothing and needs no Redis; `Last-Event-ID` continues where a
connection broke. The number of listeners is bounded.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Annotated, Final

from fastapi import APIRouter, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from service.api.deps import ApiParts, Parts, Reader
from service.domain.errors import PortcullisError, RateLimitedError
from service.store.queries import reading
from service.store.queries.pages import Record

router = APIRouter(prefix="/v1", tags=["live"])

MAX_LISTENERS: Final = 100
POLL_S: Final = 0.25
HEARTBEAT_POLLS: Final = 60
_BATCH: Final = 500


@router.get("/health", summary="Whether the service can do its work; answers anybody, and tells no details")
def health(parts: Parts) -> JSONResponse:
    """Return ok, or degraded with 503 when the database is not there."""
    try:
        with parts.database.begin() as uow:
            reading.newest_event(uow.connection)
    except PortcullisError:
        return JSONResponse({"status": "degraded"}, status_code=503)
    return JSONResponse({"status": "ok"})


@router.get("/events", summary="Server-sent events: what happened, by name and ids", response_class=StreamingResponse)
async def events(
    request: Request,
    parts: Parts,
    _reader: Reader,
    last_event_id: Annotated[str | None, Header(pattern=r"^\d{1,18}$")] = None,
) -> StreamingResponse:
    """Stream events from now on, or from after `Last-Event-ID`."""
    listening: set[int] = request.app.state.listeners
    if len(listening) >= MAX_LISTENERS:
        raise RateLimitedError("too many listeners: close one, or try again later", retry_after_s=10)
    start = int(last_event_id) if last_event_id else await run_in_threadpool(_newest, parts)
    headers = {"cache-control": "no-store", "x-accel-buffering": "no"}
    return StreamingResponse(_stream(request, parts, start), media_type="text/event-stream", headers=headers)


def _newest(parts: ApiParts) -> int:
    with parts.database.begin() as uow:
        return reading.newest_event(uow.connection)


async def _stream(request: Request, parts: ApiParts, after: int) -> AsyncIterator[bytes]:
    listening: set[int] = request.app.state.listeners
    me = id(asyncio.current_task())
    listening.add(me)
    try:
        silent = 0
        yield b"retry: 2000\n\n"
        while not await request.is_disconnected():
            rows = await run_in_threadpool(_read, parts, after)
            for row in rows:
                after = row["id"]
                body = json.dumps({"event": row["event"], "ids": row["payload"]})
                yield f"id: {after}\nevent: {row['event']}\ndata: {body}\n\n".encode()
            silent = 0 if rows else silent + 1
            if silent and silent % HEARTBEAT_POLLS == 0:
                yield b": still here\n\n"
            await asyncio.sleep(POLL_S)
    finally:
        listening.discard(me)


def _read(parts: ApiParts, after: int) -> list[Record]:
    with parts.database.begin() as uow:
        return list(reading.events_after(uow.connection, after, _BATCH))
