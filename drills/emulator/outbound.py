"""What the emulator sends: POST with a deadline, redirects not followed, no proxy from the environment, faults applied.

An answer is a status or nothing; nothing means that it cannot be told whether the other side received the message.
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx

from drills.emulator.faults import Fault, Faults, Mode

MAX_ANSWER_BYTES = 64 * 1024
BAD_GATEWAY = 502
UNAVAILABLE = 503


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; `status` None: nothing."""

    status: int | None
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Message:
    """One message to send."""

    url: str
    body: bytes
    headers: Mapping[str, str]
    timeout_s: float


class Outbound:
    """An HTTP client for webhooks and callbacks."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._client = httpx.AsyncClient(trust_env=False, follow_redirects=False)

    async def close(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def post(self, message: Message) -> Answer:
        """Send once, as the armed faults allow."""
        fault = self._faults.take(urlsplit(message.url).path)
        if fault is None:
            return await self._send(message)
        return await self._send_with(message, fault)

    async def _send_with(self, message: Message, fault: Fault) -> Answer:
        match fault.mode:
            case Mode.DROP:
                return Answer(None)
            case Mode.ERROR_BEFORE_EFFECT:
                return Answer(UNAVAILABLE)
            case Mode.DELAY:
                await asyncio.sleep(fault.delay_s)
                return await self._send(message)
            case Mode.DUPLICATE:
                await self._send(message)
                return await self._send(message)
            case Mode.ERROR_AFTER_EFFECT:
                await self._send(message)
                return Answer(BAD_GATEWAY)

    async def _send(self, message: Message) -> Answer:
        try:
            async with asyncio.timeout(message.timeout_s):
                answer = await self._client.post(
                    message.url, content=message.body, headers=message.headers, timeout=message.timeout_s
                )
        except (TimeoutError, httpx.HTTPError):
            return Answer(None)
        return Answer(answer.status_code, answer.content[:MAX_ANSWER_BYTES])
