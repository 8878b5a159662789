"""Writes every exchange of the REST interface to a file, one JSON line each, for a later check against the API description.

A line is written before the answer leaves, so that whoever has an answer finds its line. The bearer token is
replaced, so that the file holds no credential; everything else is as it was on the wire.
"""

import base64
import os
from pathlib import Path

import msgspec
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HIDDEN = b"authorization"


class Recorder:
    """ASGI middleware; records what starts with /v1/. The file is created with mode 0600 and appended to."""

    def __init__(self, app: ASGIApp, path: Path) -> None:
        self._app = app
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            await self._app(scope, receive, send)
            return
        asked, answered = bytearray(), bytearray()
        start: dict[str, object] = {}
        held: list[Message] = []

        async def listen() -> Message:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def speak(message: Message) -> None:
            held.append(message)  # an answer without content is whole with its first line: nothing leaves unrecorded
            if message["type"] == "http.response.start":
                start.update(status=message["status"], headers=_texts(message.get("headers", [])))
                return
            answered.extend(message.get("body", b""))
            if not message.get("more_body", False):
                request: dict[str, object] = {"headers": _texts(scope["headers"]), "body": _text(asked)}
                self._write(scope, request, {**start, "body": _text(answered)})
                for one in held:
                    await send(one)

        await self._app(scope, listen, speak)

    def _write(self, scope: Scope, request: dict[str, object], response: dict[str, object]) -> None:
        line = {
            "method": scope["method"],
            "path": scope["path"],
            "query": scope["query_string"].decode("ascii", "replace"),
            "request": request,
            "response": response,
        }
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")


def _texts(headers: list[tuple[bytes, bytes]]) -> dict[str, str]:
    return {
        name.decode("latin-1").lower(): "Bearer hidden" if name.lower() == HIDDEN else value.decode("latin-1")
        for name, value in headers
    }


def _text(body: bytearray) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return "base64:" + base64.b64encode(body).decode()
