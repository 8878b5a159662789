"""Keeps the alarm child (`alarm.py`) of a worker alive: one thread that starts it, and starts it anew when it dies.

Rules: it is a program of its own and no fork, because a fork beside other threads may inherit a lock that nobody ever
gives back. Without it alerts are late by the relay's head start and nothing is lost, so its death ends nothing; it is
started again after a pause. It says through a pipe when it is at work.
"""

import os
import select
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from typing import Final

import structlog

PAUSE_S: Final = 1.0
END_S: Final = 10.0
"""How long it may take to end what it is at."""

log = structlog.get_logger(__name__)


class Tending:
    """Runs in a thread until it is stopped; `ready` is called once, when the first child is at work."""

    def __init__(self, command: Sequence[str], stop: threading.Event, ready: Callable[[], None]) -> None:
        """Take what comes after `python`; the file descriptor to write to and this process's number are added to it."""
        self._command = [sys.executable, *(["-P"] if sys.flags.safe_path else []), *command]
        self._stop = stop
        self._ready = ready
        self._told = False

    def run(self) -> None:
        """Tend until stopped."""
        while not self._stop.is_set():
            try:
                code = self._one_life()
            except OSError as error:
                log.warning("alarm.not_started", error=type(error).__name__)
            else:
                if not self._stop.is_set():
                    log.error("alarm.died", exit_code=code)
            self._stop.wait(PAUSE_S)

    def _one_life(self) -> int:
        heard, said = os.pipe()
        try:
            try:
                command = [*self._command, str(said), str(os.getpid())]
                child = subprocess.Popen(command, pass_fds=[said], stdin=subprocess.DEVNULL)  # noqa: S603  our own program
            finally:
                os.close(said)
            while child.poll() is None and not self._stop.is_set():
                self._listen(heard)
            return _end(child)
        finally:
            os.close(heard)

    def _listen(self, heard: int) -> None:
        """Hear that the child is ready, or pass the time; the child is looked at again and again, whatever is heard."""
        if self._told or not select.select([heard], [], [], PAUSE_S)[0]:
            self._stop.wait(PAUSE_S if self._told else 0)
        elif os.read(heard, 1):
            self._told = True
            self._ready()
        else:
            self._stop.wait(PAUSE_S)


def _end(child: subprocess.Popen[bytes]) -> int:
    child.terminate()
    try:
        return child.wait(END_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait()
