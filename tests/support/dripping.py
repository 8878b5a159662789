"""Servers on loopback that answer one byte at a time for as long as somebody listens, and a clock that runs meanwhile."""

import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

PAUSE_S = 0.01
"""Between two bytes: what limits the size of an answer would take many minutes to be reached."""
STEP_S = 4.0


@dataclass
class Dripping:
    """One server. While it drips, each look at `monotonic` finds STEP_S gone by."""

    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    dripped: int = 0
    now: float = 0.0

    def monotonic(self) -> float:
        if self.dripped:
            self.now += STEP_S
        return self.now


class _Handler(socketserver.StreamRequestHandler):
    drip: Dripping
    begins: bytes

    def send_drops(self) -> None:
        pause = threading.Event()
        with suppress(OSError):  # nobody listens any more
            self.wfile.write(self.begins)
            while not pause.wait(PAUSE_S):
                self.wfile.write(b"a")
                self.drip.dripped += 1


class _Http(_Handler):
    def handle(self) -> None:
        while (line := self.rfile.readline()).strip():
            self.drip.requests.append(line)
        self.send_drops()


class _Greeting(_Handler):
    def handle(self) -> None:
        self.send_drops()


class _AfterData(_Handler):
    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while (line := self.rfile.readline()).strip().upper() != b"DATA":
            self.drip.requests.append(line)
            self.wfile.write(b"250 yes\r\n")
        self.wfile.write(b"354 go on\r\n")
        while self.rfile.readline() not in {b".\r\n", b""}:
            pass
        self.send_drops()


class _Pouring(_Handler):
    """Answers as fast as it is read, in lines none of which is the last."""

    def handle(self) -> None:
        with suppress(OSError):
            while True:
                self.wfile.write(self.begins * 1000)


KINDS: dict[str, tuple[type[_Handler], bytes]] = {
    "status": (_Http, b"HTTP/1.1 2"),
    "field": (_Http, b"HTTP/1.1 200 OK\r\nX-Long: "),
    "content": (_Http, b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n"),
    "greeting": (_Greeting, b"220 "),
    "after_data": (_AfterData, b"250-"),
    "pouring": (_Pouring, b"220-here\r\n"),
}


@contextmanager
def dripping(kind: str) -> Iterator[Dripping]:
    """Run a server that begins to drip at the named place of an answer."""
    handler, begins = KINDS[kind]
    drip = Dripping()
    made = type("Handler", (handler,), {"drip": drip, "begins": begins})
    server = socketserver.ThreadingTCPServer(("127.0.0.1", 0), made)
    drip.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield drip
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
