"""The two programs of a drill, each a process of its own: the emulated platform, and a fresh Portcullis.

Rules: both are started in their own session, so that Ctrl-C reaches the drill alone and it stops them in order; whatever
was started is stopped, at first by SIGTERM; a set-up token that a program prints is never passed on.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from drills.addresses import derived
from drills.runner.errors import DrillError

POLL_S = 0.05
EMULATOR_TIMEOUT_S = 60.0
UP_TIMEOUT_S = 300.0
STOP_TIMEOUT_S = 90.0
TAIL_LINES = 12
READY_PREFIX = "up: "
TOKEN_PREFIX = "set-up token"  # noqa: S105 - the start of a line that is hidden
GUARD_RECOVERY = derived("every drill", "recovery")
"""Who could appoint another guardian: nobody holds its key."""
Hear = Callable[[str], None]


class Program:
    """One child process whose output lines are heard as they come; stopped when the context ends."""

    def __init__(self, name: str, arguments: list[str], environment: Mapping[str, str], hear: Hear) -> None:
        self.name = name
        self._hear = hear
        self._tail: deque[str] = deque(maxlen=TAIL_LINES)
        self._process = subprocess.Popen(  # noqa: S603 - our own modules
            [sys.executable, *arguments],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            text = line.rstrip()
            if not text.startswith(TOKEN_PREFIX):
                self._tail.append(text)
                self._hear(text)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def require_alive(self) -> None:
        """DrillError with its last lines when it has ended."""
        if self._process.poll() is not None:
            self._reader.join(1)
            said = "\n  ".join(self._tail) or "it said nothing"
            raise DrillError(f"{self.name} ended (exit code {self._process.returncode}):\n  {said}")

    def stop(self) -> None:
        """End it cleanly and wait; a program that does not end is killed after 90 s."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._reader.join(2)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a program answers, and the token that opens it."""

    url: str
    token: str = field(repr=False)


def start_emulator(folder: Path, record: Path | None, port: int, hear: Hear) -> Program:
    """Start the emulated platform on a port (0: any free one); `await_emulator` tells where it is."""
    (folder / "emulator.json").unlink(missing_ok=True)
    arguments = ["-m", "drills.emulator", "--port", str(port), "--state", str(folder / "emulator.json")]
    return Program("the emulator", [*arguments, *(["--record", str(record)] if record else [])], {}, hear)


def await_emulator(program: Program, folder: Path) -> Address:
    """Wait until the emulator has written where it is; the file holds its token and is removed at once."""
    state = folder / "emulator.json"
    found = _await(program, EMULATOR_TIMEOUT_S, lambda: state.read_text() if state.exists() else "")
    state.unlink(missing_ok=True)
    told = json.loads(found)
    return Address(str(told["url"]), str(told["token"]))


class Installation:
    """`portcullis up` in a fresh home on a free port."""

    def __init__(self, home: Path, chains: Mapping[str, str], hear: Hear) -> None:
        self.home = home
        self._url = ""
        self._heard = hear
        told = ",".join(f"{chain}={url}" for chain, url in chains.items())
        environment = {
            "PORTCULLIS_HOME": str(home),
            "PORTCULLIS_CHAINS": told,
            "PORTCULLIS_GUARD_RECOVERY": GUARD_RECOVERY,
        }
        self.program = Program("portcullis up", ["-m", "service.cli", "up", "--port", "0"], environment, self._hear)

    def _hear(self, line: str) -> None:
        if line.startswith(READY_PREFIX):
            self._url = line.removeprefix(READY_PREFIX).split()[0]
        self._heard(line)

    def wait(self) -> Address:
        """Wait until everything is up; returns the address and the one-time set-up token."""
        url = _await(self.program, UP_TIMEOUT_S, lambda: self._url)
        return Address(url, (self.home / "setup-token").read_text().strip())


def _await(program: Program, timeout_s: float, look: Callable[[], str]) -> str:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        program.require_alive()
        time.sleep(POLL_S)
    raise DrillError(f"{program.name} was not ready within {timeout_s:.0f} s; run it by itself to see why")
