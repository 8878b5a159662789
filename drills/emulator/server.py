"""Runs the emulator on a loopback port, in the foreground or in a thread of the caller's process.

Rule: it binds 127.0.0.1 and nothing else; it moves pretended money for whoever holds its token.
"""

import asyncio
import socket
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

import uvicorn

from drills.emulator.app import create
from drills.emulator.connections import TrackedProtocol
from drills.emulator.emulator import Emulator

HOST = "127.0.0.1"
START_TIMEOUT_S = 60.0


class EmulatorServer:
    """An emulator with a listening socket; `url` is known before it runs. Use as a context manager for a thread."""

    def __init__(self, *, port: int = 0, token: str | None = None, record: Path | None = None) -> None:
        self.emulator = Emulator(token)
        # asyncio sends small answers at once (TCP_NODELAY) only on a socket that says it is TCP.
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind((HOST, port))
        self._socket.listen()
        self.url = f"http://{HOST}:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(
            create(self.emulator, record), http=TrackedProtocol, lifespan="off", log_level="warning", access_log=False
        )
        self._server = uvicorn.Server(config)
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop that serves; RuntimeError before it runs."""
        if self._loop is None:
            raise RuntimeError("the emulator does not run yet")
        return self._loop

    async def serve(self) -> None:
        """Serve until a signal or `stop`; then end what runs in the background."""
        self._loop = asyncio.get_running_loop()
        await self._server.serve(sockets=[self._socket])
        await self.emulator.close()

    def stop(self) -> None:
        """Ask the server to end."""
        self._server.should_exit = True

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=lambda: asyncio.run(self.serve()), name="emulator", daemon=True)
        self._thread.start()
        waited = threading.Event()
        for _ in range(int(START_TIMEOUT_S / 0.01)):
            if self._server.started or not self._thread.is_alive():
                break
            waited.wait(0.01)
        if not self._server.started:
            raise RuntimeError("the emulator did not start; look at the log lines above")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._thread is not None:
            self._thread.join(START_TIMEOUT_S)
        self._socket.close()
