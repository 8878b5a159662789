"""Share out the work on blocks that is free of order, and hand the results back in order.

Rules: a part is a pure function from bytes to bytes, so where it runs, how often, and in which company changes nothing. At
most a bounded number of parts are under way; results come back in the order in which the parts were handed in. An error of
a part is the error of the run; a part that died is an error that says so.
"""

import multiprocessing
import signal
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import NamedTuple, Protocol

from rules.backtest.errors import BacktestError
from rules.backtest.parts import run_part


class Part(NamedTuple):
    """Some work: which kind (``decode`` or ``render``), the block's number, what the kind needs to know, the data."""

    kind: str
    number: int
    spec: bytes
    payload: bytes


class Pending(Protocol):
    """A part under way."""

    def result(self) -> bytes:
        """Wait for it. Raises what the part raised."""


class Hands(Protocol):
    """Whoever works on parts."""

    width: int
    """How many parts are worth having under way."""

    def submit(self, part: Part) -> Pending:
        """Start a part."""


class Done:
    """A part that was done where it was handed in."""

    def __init__(self, found: bytes) -> None:
        self._found = found

    def result(self) -> bytes:
        """What it gave."""
        return self._found


class Here:
    """Works in this process, at once."""

    width = 1

    def submit(self, part: Part) -> Pending:
        """Do it."""
        return Done(run_part(part.kind, part.spec, part.payload))


class Processes:
    """Works in processes of this machine."""

    def __init__(self, pool: ProcessPoolExecutor, width: int) -> None:
        self.pool = pool
        self.width = width

    def submit(self, part: Part) -> Pending:
        """Hand it to the next free process."""
        try:
            return _Of(self.pool.submit(run_part, part.kind, part.spec, part.payload))
        except BrokenProcessPool as error:
            raise _killed() from error


class _Of:
    def __init__(self, future: "Future[bytes]") -> None:
        self._future = future

    def result(self) -> bytes:
        try:
            return self._future.result()
        except BrokenProcessPool as error:
            raise _killed() from error


def _killed() -> BacktestError:
    return BacktestError("a process of the back-test was killed, most likely for want of memory: use fewer --processes")


@contextmanager
def hands(processes: int) -> Iterator[Hands]:
    """Give this process for 1, a pool of that many for more. Nothing is left running afterwards."""
    if processes <= 1:
        yield Here()
        return
    pool = ProcessPoolExecutor(processes, multiprocessing.get_context("spawn"), initializer=_leave_interrupts_alone)
    try:
        yield Processes(pool, processes)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _leave_interrupts_alone() -> None:
    """Ctrl-C reaches the whole process group; the coordinating process decides."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def in_order(workers: Hands, parts: Iterator[Part]) -> Iterator[bytes]:
    """The results of parts in their order, with at most ``width + 1`` of them under way."""
    under_way: deque[Pending] = deque()
    for part in parts:
        under_way.append(workers.submit(part))
        if len(under_way) > workers.width:
            yield under_way.popleft().result()
    while under_way:
        yield under_way.popleft().result()
