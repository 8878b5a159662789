"""Keep every part running until told to stop.

Rules enforced here: parts start in order. The last, which takes in what is new, stops first; then all processes end at the
same time, each with its own time to finish what it does, and after them the servers that they need. A part that ends is
started again after a growing pause (0.5 s doubling to 8 s); one that ends more than five times within a minute stops the
whole installation, because half an installation that looks alive is worse than none; the state file tells `status` what is
true now.
"""

import json
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final

from service.domain.errors import PortcullisError, UnavailableError
from service.runtime.errors import StoppedEarlyError
from service.runtime.layout import Layout, write_private
from service.runtime.logs import rotate
from service.runtime.parts import POLL_S, Part

MOST_RESTARTS: Final = 5
RESTART_WINDOW_S: Final = 60.0
FIRST_PAUSE_S: Final = 0.5
LONGEST_PAUSE_S: Final = 8.0
STOPPED_EARLY: Final = "stopped before everything was up: nothing is left running, start it again when you like"


class PartState(Enum):
    """What the supervisor knows of one part."""

    STARTING = "starting"
    READY = "ready"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass
class Watch:
    """One part and its history."""

    part: Part
    state: PartState = PartState.STARTING
    restarts: int = 0
    ended_at: deque[float] = field(default_factory=deque)
    again_at: float = 0.0

    def note_end(self, now: float) -> bool:
        """Record an unexpected end and plan the restart; False when it ended too often to go on."""
        self.ended_at.append(now)
        while self.ended_at and now - self.ended_at[0] > RESTART_WINDOW_S:
            self.ended_at.popleft()
        recent = len(self.ended_at)
        self.restarts += 1
        self.state = PartState.RESTARTING
        self.again_at = now + min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** (recent - 1))
        return recent <= MOST_RESTARTS


class Supervisor:
    """Runs parts. `say` gets one line per event a person should see."""

    def __init__(self, layout: Layout, parts: Sequence[Part], say: Callable[[str], None]) -> None:
        self._layout = layout
        self._watches = [Watch(part) for part in parts]
        self._say = say
        self._told_to_stop = False

    def tell_to_stop(self) -> None:
        """Ask `run` or `start` to end; safe to call from a signal handler."""
        self._told_to_stop = True

    def start(self) -> None:
        """Start all parts and wait until each is ready. Raises UnavailableError after stopping what had started."""
        try:
            for watch in self._watches:
                if watch.part.pid is None:
                    watch.part.start()
            self._wait_until_all_are_ready()
        except BaseException:
            self.stop()
            raise

    def run(self) -> None:
        """Watch until told to stop, then stop everything. Raises UnavailableError when a part keeps ending."""
        try:
            while not self._told_to_stop:
                self._look_once()
                for watch in self._watches:
                    rotate(watch.part.log)
                time.sleep(POLL_S * 4)
        finally:
            self.stop()

    def stop(self) -> None:
        """Stop all parts: the last one, then the others at once, servers in reverse order; each has its own time."""
        for watch in reversed(self._watches):
            watch.part.stop()
            watch.state = PartState.STOPPED
            for other in self._watches:
                if other.state is not PartState.STOPPED:
                    other.part.tell_to_stop()
        self._layout.state_file.unlink(missing_ok=True)

    def _wait_until_all_are_ready(self) -> None:
        waiting = list(self._watches)
        while waiting:
            if self._told_to_stop:
                raise StoppedEarlyError(STOPPED_EARLY)
            self._note_ready(waiting)
            time.sleep(POLL_S)
        self._write_state()

    def _note_ready(self, waiting: list[Watch]) -> None:
        for watch in tuple(waiting):
            if watch.part.ready():
                watch.state = PartState.READY
                waiting.remove(watch)
                self._say(f"{watch.part.name:<12} {watch.part.address}")

    def _look_once(self) -> None:
        now = time.monotonic()
        changed = False
        for watch in self._watches:
            before = (watch.state, watch.part.pid)
            self._look_at(watch, now)
            changed = changed or before != (watch.state, watch.part.pid)
        if changed:
            self._write_state()

    def _look_at(self, watch: Watch, now: float) -> None:
        if watch.state is PartState.RESTARTING:
            if now >= watch.again_at:
                self._start_again(watch)
            return
        if watch.part.returncode is not None:
            self._note_end(watch, now, f"ended with code {watch.part.returncode}")
        elif watch.state is PartState.STARTING:
            try:
                if watch.part.ready():
                    watch.state = PartState.READY
                    self._say(f"{watch.part.name:<12} {watch.part.address} (again)")
            except UnavailableError as error:
                watch.part.stop()
                self._note_end(watch, now, str(error))

    def _start_again(self, watch: Watch) -> None:
        try:
            watch.part.start()
        except PortcullisError as error:
            self._note_end(watch, time.monotonic(), str(error))
        else:
            watch.state = PartState.STARTING

    def _note_end(self, watch: Watch, now: float, what: str) -> None:
        if not watch.note_end(now):
            raise UnavailableError(
                f"{watch.part.name} {what}, more than {MOST_RESTARTS} times within a minute: everything is stopped."
                f" See {watch.part.log}, then run `portcullis doctor`"
            )
        self._say(f"{watch.part.name:<12} {what}; starting it again in {watch.again_at - now:.1f} s")

    def _write_state(self) -> None:
        state = {
            "supervisor": os.getpid(),
            "parts": [
                {
                    "name": watch.part.name,
                    "pid": watch.part.pid,
                    "state": watch.state.value,
                    "address": watch.part.address,
                    "restarts": watch.restarts,
                }
                for watch in self._watches
            ],
        }
        write_private(self._layout.state_file, json.dumps(state, indent=1))
