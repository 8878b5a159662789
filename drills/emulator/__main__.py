"""`python -m drills.emulator`: start an emulator.

Rule: where it is, and its token, go to a file that only the owner can read, never to the terminal.
"""

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from drills.emulator.server import EmulatorServer

PORT_TAKEN = 3


def main(arguments: list[str] | None = None) -> int:
    """Run until interrupted; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m drills.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port on 127.0.0.1; 0: any free one")
    parser.add_argument("--state", type=Path, required=True, help="file to write url, token and pid to (mode 0600)")
    parser.add_argument("--record", type=Path, help="file to append every exchange under /v1 to, one JSON line each")
    chosen = parser.parse_args(arguments)
    try:
        server = EmulatorServer(port=chosen.port, record=chosen.record)
    except OSError as error:
        sys.stderr.write(f"emulator: cannot listen on port {chosen.port}: {error.strerror}; choose another or 0\n")
        return PORT_TAKEN
    state = {"url": server.url, "token": server.emulator.token, "pid": os.getpid()}
    _write(chosen.state, json.dumps(state))
    sys.stdout.write(f"emulator: {server.url} (token in {chosen.state})\n")
    sys.stdout.flush()
    try:
        asyncio.run(server.serve())
    except KeyboardInterrupt:
        return 130
    finally:
        chosen.state.unlink(missing_ok=True)
    return 0


def _write(path: Path, text: str) -> None:
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


if __name__ == "__main__":
    sys.exit(main())
