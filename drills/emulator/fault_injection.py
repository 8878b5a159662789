"""Applies armed faults to what comes in. Control calls are never disturbed, so that faults can be lifted."""

import asyncio
from collections.abc import MutableMapping
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from drills.emulator.connections import abort
from drills.emulator.faults import Fault, Faults, Mode
from drills.emulator.outbound import BAD_GATEWAY, UNAVAILABLE


class FaultInjection:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, faults: Faults) -> None:
        self._app = app
        self._faults = faults

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"].startswith("/emulator/"):
            await self._app(scope, receive, send)
            return
        fault = self._faults.take(scope["path"], scope["method"])
        if fault is None:
            await self._app(scope, receive, send)
        else:
            await self._disturb(fault, scope, receive, send)

    async def _disturb(self, fault: Fault, scope: Scope, receive: Receive, send: Send) -> None:
        match fault.mode:
            case Mode.DROP:
                abort(scope)
            case Mode.DELAY:
                body = await _whole(receive)  # a caller who gives up meanwhile does not take it back
                await asyncio.sleep(fault.delay_s)
                await self._app(scope, _replay(body), send)
            case Mode.DUPLICATE:
                body = await _whole(receive)
                await self._app(scope, _replay(body), send)
                await self._app(scope, _replay(body), _nowhere)
            case Mode.ERROR_AFTER_EFFECT:
                await self._app(scope, receive, _nowhere)
                await _answer(send, BAD_GATEWAY)
            case Mode.ERROR_BEFORE_EFFECT:
                await _answer(send, UNAVAILABLE)


async def _whole(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes) -> Receive:
    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    return receive


async def _nowhere(_message: Message) -> None:
    """Swallow an answer."""


async def _answer(send: Send, status: int) -> None:
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b'{"message":"injected fault","code":-1}'})
