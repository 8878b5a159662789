"""How the rounds of `bench.containment` are timed."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.domain.plan import Verdict


@dataclass(slots=True)
class Stopwatch:
    """Seconds of each round, by what was done."""

    times: dict[str, list[float]] = field(default_factory=dict)

    @contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Time the block; a round that raises is no figure."""
        began = time.perf_counter()
        yield
        self.times.setdefault(what, []).append(time.perf_counter() - began)


def require(ask: Callable[[], Verdict]) -> None:
    """Wait until it holds: a figure of what does not hold would be none. Raises RuntimeError after a minute."""
    end = time.monotonic() + 60
    while ask() is not Verdict.HOLDS:
        if time.monotonic() > end:
            raise RuntimeError("it does not hold after a minute: look into the other side")
        time.sleep(0.005)
