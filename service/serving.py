"""Running an ASGI application until told to stop, and saying when it answers.

Rules: a port or socket that is taken is said in one sentence, before anything else is opened; the ready file is written
only once requests are answered, because `portcullis up` believes it.
"""

import gc
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Final

import uvicorn

from service.domain.errors import UnavailableError

GC_AFTER: Final = 20_000
"""New objects after which the youngest are looked at: about a millisecond's work, some hundred events' worth."""


def settle_down() -> None:
    """Have the garbage collector never look at what start-up allocated, and less often at what is new."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(GC_AFTER, 20, 50)


class ReadyServer(uvicorn.Server):
    """Writes its pid to `ready_file` once it listens, after freezing what start-up allocated.

    A full garbage collection over everything that was loaded would pause the gate for tens of milliseconds; frozen
    objects are never looked at again. `on_stop` runs before open connections are waited for: it ends what never ends by
    itself, such as streams of events.
    """

    def __init__(self, config: uvicorn.Config, ready_file: Path, on_stop: Callable[[], None] = lambda: None) -> None:
        super().__init__(config)
        self._ready_file = ready_file
        self._on_stop = on_stop

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, then say so."""
        await super().startup(sockets)
        if self.started:
            settle_down()
            self._ready_file.parent.mkdir(parents=True, exist_ok=True)
            self._ready_file.write_text(f"{os.getpid()}\n")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let what is being answered finish."""
        self._on_stop()
        await super().shutdown(sockets)


def bind(host: str, port: int) -> socket.socket:
    """Return a listening TCP socket. Raises UnavailableError that says what to do when the address is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on a socket that says it is TCP; without it answers wait 40 ms for an ACK.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        raise UnavailableError(
            f"cannot listen on {host}:{port} ({error.strerror}): stop what uses it, or choose another port with --port"
        ) from error
    listener.set_inheritable(True)
    return listener
