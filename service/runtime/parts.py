"""What the supervisor starts, watches and stops: servers and processes behind one small interface.

Rules enforced here: a process counts as ready only when it says so itself (its pid in `run/ready/NAME`), the API only
when it also answers `GET /v1/health`; a child that ends before it is ready fails the start with the end of its log.
"""

import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from service.domain.errors import UnavailableError
from service.runtime.accounts import Account
from service.runtime.logs import open_log, tail

READY_TIMEOUT_S: Final = 240.0
"""Enough to compile the engine first, which takes a minute on two idle cores and several on busy ones."""
POLL_S: Final = 0.05


class Part(Protocol):
    """One thing an installation consists of."""

    @property
    def name(self) -> str: ...

    @property
    def address(self) -> str: ...

    @property
    def log(self) -> Path: ...

    @property
    def pid(self) -> int | None: ...

    @property
    def returncode(self) -> int | None:
        """Exit code when it has ended by itself, else None."""

    def start(self) -> None:
        """Start it without waiting for more than it needs. Raises UnavailableError."""

    def ready(self) -> bool:
        """Whether it serves. Raises UnavailableError when it never will."""

    def tell_to_stop(self) -> None:
        """Ask it to end and do not wait; nothing for a part that others may still need."""

    def stop(self) -> None:
        """End it cleanly, then by force."""


class Server(Protocol):
    """An embedded server: its `start` returns when it serves."""

    @property
    def pid(self) -> int | None: ...

    @property
    def returncode(self) -> int | None: ...

    def start(self) -> None: ...

    def stop(self) -> None: ...


class ServerPart:
    """An embedded server as a part."""

    def __init__(self, name: str, address: str, log: Path, server: Server) -> None:
        self.name = name
        self.address = address
        self.log = log
        self._server = server

    @property
    def pid(self) -> int | None:
        return self._server.pid

    @property
    def returncode(self) -> int | None:
        return self._server.returncode

    def start(self) -> None:
        self._server.start()

    def ready(self) -> bool:
        return True

    def tell_to_stop(self) -> None:
        """Nothing: whoever ends beside it still needs it."""

    def stop(self) -> None:
        self._server.stop()


@dataclass(frozen=True, slots=True)
class ProcessPlan:
    """How one of our processes is run."""

    name: str
    address: str
    arguments: tuple[str, ...]
    """What follows `python`."""
    account: Account
    environment: Mapping[str, str]
    folder: Path
    log: Path
    ready_file: Path
    stop_timeout_s: float = 10.0
    answers: Callable[[], bool] | None = None
    """A further question that must be answered yes before it counts as ready."""


class ProcessPart:
    """One of our own processes as a part."""

    def __init__(self, plan: ProcessPlan) -> None:
        self._plan = plan
        self._process: subprocess.Popen[bytes] | None = None
        self._told_to_stop = False
        self._started_at = 0.0

    @property
    def name(self) -> str:
        return self._plan.name

    @property
    def address(self) -> str:
        return self._plan.address

    @property
    def log(self) -> Path:
        return self._plan.log

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None else None

    @property
    def returncode(self) -> int | None:
        return self._process.poll() if self._process is not None else None

    def start(self) -> None:
        plan = self._plan
        self._told_to_stop = False
        withdraw(plan.ready_file)
        with open_log(plan.log) as log:
            self._process = subprocess.Popen(  # noqa: S603  our own modules
                plan.account.command([sys.executable, *plan.arguments]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=plan.folder,
                env=dict(plan.environment),
                start_new_session=True,
            )
        self._started_at = time.monotonic()

    def ready(self) -> bool:
        if self.returncode is not None:
            raise UnavailableError(self._told(f"ended with code {self.returncode} before it was ready"))
        if time.monotonic() - self._started_at > READY_TIMEOUT_S:
            raise UnavailableError(self._told(f"was not ready after {READY_TIMEOUT_S:.0f} s"))
        try:
            said = self._plan.ready_file.read_text().strip()
        except FileNotFoundError:
            return False
        return said == str(self.pid) and (self._plan.answers is None or self._plan.answers())

    def tell_to_stop(self) -> None:
        withdraw(self._plan.ready_file)
        if self._process is not None and self._process.poll() is None and not self._told_to_stop:
            self._told_to_stop = True  # a worker takes a second signal for an order to drop its work
            self._process.terminate()

    def stop(self) -> None:
        self.tell_to_stop()
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        try:
            process.wait(self._plan.stop_timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _told(self, what: str) -> str:
        return f"{self.name} {what}. The end of {self._plan.log}:\n{tail(self._plan.log)}"


def withdraw(ready_file: Path) -> None:
    """Take back that a process is ready. The file stays: its folder is closed to the process that writes it."""
    with contextlib.suppress(FileNotFoundError):
        os.truncate(ready_file, 0)


def answers_health(host: str, port: int) -> bool:
    """Whether the API answers its health question with 200."""
    connection = http.client.HTTPConnection(host, port, timeout=2)
    try:
        connection.request("GET", "/v1/health")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
