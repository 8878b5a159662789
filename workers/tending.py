"""Keeps the alarm child (`alarm.py`) of a worker alive: one thread that starts it, and starts it anew when it dies.

Rules: it is forked as the pool's children are, while relay and sweeper are idle. Without it alerts are late by the relay's
head start and nothing is lost, so its death ends nothing; it is started again after a pause.
"""

import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing.connection import wait
from typing import Final

import structlog

from service.config import Settings
from workers.alarm import Alarm
from workers.jobs import Root

PAUSE_S: Final = 1.0
END_S: Final = 10.0
"""How long it may take to end what it is at."""
_FORK: Final = multiprocessing.get_context("fork")

log = structlog.get_logger(__name__)


class Tending:
    """Runs in a thread until it is stopped; `ready` is called once, when the first child is at work."""

    def __init__(
        self, settings: Settings, build: Callable[[Settings], Root], stop: threading.Event, ready: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._build = build
        self._stop = stop
        self._ready = ready
        self._told = False

    def run(self) -> None:
        """Tend until stopped."""
        while not self._stop.is_set():
            self._one_life()
            self._stop.wait(PAUSE_S)

    def _one_life(self) -> None:
        heard, said = _FORK.Pipe(duplex=False)
        alarm = Alarm(self._settings, self._build, os.getpid(), lambda: said.send_bytes(b"ready"))
        child = _FORK.Process(target=alarm.run, name="alarm", daemon=True)
        child.start()
        said.close()
        try:
            while child.is_alive() and not self._stop.is_set():
                # Asked again and again, because a child of the pool that was forked just now has the other ends too.
                if heard in wait([child.sentinel, *([] if self._told else [heard])], timeout=PAUSE_S):
                    self._told = True
                    self._ready()
        finally:
            heard.close()
            _end(child)
        if not self._stop.is_set():
            log.error("alarm.died", exit_code=child.exitcode)


def _end(child: multiprocessing.process.BaseProcess) -> None:
    child.terminate()
    child.join(END_S)
    if child.is_alive():
        child.kill()
        child.join()
