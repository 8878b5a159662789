"""Stands for one of our processes where only the runtime is tested: says it is ready, serves health, ends on SIGTERM.

While there is a file `HELD_UP` beside the installation it is not ready.
"""

import http.server
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

HOME = Path(os.environ["PORTCULLIS_HOME"])
NAME = os.environ["PORTCULLIS_PROCESS"]
HELD_UP = "nobody-is-ready"


class Health(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/v1/health" else 404)
        self.end_headers()


def end(*_: object) -> NoReturn:
    sys.exit(0)


def main() -> None:
    signal.signal(signal.SIGTERM, end)
    if NAME == "api":
        address = (os.environ["PORTCULLIS_LISTEN_HOST"], int(os.environ["PORTCULLIS_LISTEN_PORT"]))
        server = http.server.HTTPServer(address, Health)
        threading.Thread(target=server.serve_forever, daemon=True).start()
    while (HOME.parent / HELD_UP).exists():
        time.sleep(0.05)
    (HOME / "run" / "ready" / NAME).write_text(str(os.getpid()))
    while True:
        signal.pause()


if __name__ == "__main__":
    main()
