"""Real receivers on loopback: a mail server and an HTTP server that a test can make refuse, stall or hang up."""

import asyncio
import socket
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP

from tests.support.http_server import Answer, Asked, serving

START_S = 60.0


@dataclass
class Mailbox:
    """What arrived, and how the server answers RCPT and DATA; `hang_up` closes the connection after DATA.

    A connection takes `most` mails: then MAIL is answered by 421, or by hanging up when `rudely`. SMTPUTF8 is offered unless
    `ascii_only`.
    """

    port: int = 0
    mails: list[tuple[str, str]] = field(default_factory=list)
    rcpt_answer: str = "250 OK"
    data_answer: str = "250 OK"
    hang_up: bool = False
    most: int = 1_000
    rudely: bool = False
    ascii_only: bool = False
    connections: list[list[str]] = field(default_factory=list)
    """By connection, whom mail was for."""

    async def handle_EHLO(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, session: Any, envelope: object, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        self.connections.append([])
        return [line for line in responses if not (self.ascii_only and "SMTPUTF8" in line)]

    async def handle_MAIL(  # noqa: N802  as above
        self, server: SMTP, session: object, envelope: Any, address: str, options: list[str]
    ) -> str:
        if len(self.connections[-1]) >= self.most:
            if self.rudely:
                assert isinstance(server.transport, asyncio.Transport)
                server.transport.abort()
            return "421 enough of you"
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(  # noqa: N802  aiosmtpd's name
        self, server: SMTP, session: object, envelope: Any, address: str, options: list[str]
    ) -> str:
        if self.rcpt_answer.startswith("250"):
            envelope.rcpt_tos.append(address)
        return self.rcpt_answer

    async def handle_DATA(self, server: SMTP, session: object, envelope: Any) -> str:  # noqa: N802  as above
        if self.data_answer.startswith("250"):
            self.connections[-1].append(envelope.rcpt_tos[0])
            self.mails.append((envelope.rcpt_tos[0], envelope.content.decode()))
        if self.hang_up:
            assert isinstance(server.transport, asyncio.Transport)
            server.transport.abort()
        return self.data_answer


@contextmanager
def closed_port() -> Iterator[int]:
    """A port at which nobody listens, and which nobody else gets within the block."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield int(held.getsockname()[1])


class _OnSocket(Controller):
    """Serves on a socket that listens already, and is given time to answer for the first time."""

    def __init__(self, box: Mailbox, listening: socket.socket) -> None:
        box.port = listening.getsockname()[1]
        super().__init__(box, hostname="127.0.0.1", port=box.port, ready_timeout=START_S)
        self._listening = listening

    def _create_server(self) -> Awaitable[asyncio.AbstractServer]:
        return self.loop.create_server(self._factory_invoker, sock=self._listening)

    def _trigger_server(self) -> None:
        with socket.create_connection((self.hostname, self.port), START_S) as first:
            first.recv(1024)


@contextmanager
def running_mailbox() -> Iterator[Mailbox]:
    box = Mailbox()
    controller = _OnSocket(box, socket.create_server(("127.0.0.1", 0)))
    controller.start()
    try:
        yield box
    finally:
        controller.stop()


@dataclass
class Inbox:
    """Requests that arrived, and the statuses to answer; -1 hangs up without an answer."""

    url: str = ""
    requests: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)


@contextmanager
def running_inbox() -> Iterator[Inbox]:
    box = Inbox()

    def answer(asked: Asked) -> Answer | None:
        box.requests.append((dict(asked.headers), asked.body))
        status = box.statuses.pop(0) if box.statuses else 200
        return Answer(status) if status >= 0 else None

    with serving(answer) as box.url:
        yield box
