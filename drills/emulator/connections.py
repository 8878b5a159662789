"""Knows the open connections, so that one can be broken off without an answer: a lost answer, as a network loses it."""

import asyncio

from starlette.types import Scope
from uvicorn.protocols.http.h11_impl import H11Protocol

_open: dict[tuple[str, int], asyncio.Transport] = {}


class TrackedProtocol(H11Protocol):
    """The server's HTTP protocol, remembering each connection while it is open."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in uvicorn's own class
        """Remember a new connection."""
        super().connection_made(transport)
        if self.client is not None:
            _open[self.client] = transport

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a closed connection."""
        if self.client is not None:
            _open.pop(self.client, None)
        super().connection_lost(exc)


def abort(scope: Scope) -> None:
    """Break off the connection of a request at once."""
    transport = _open.get(tuple(scope["client"]))
    if transport is not None:
        transport.abort()
