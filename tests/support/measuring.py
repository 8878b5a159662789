"""Branch coverage of a pytest process: saved before the process is told to end, paused where lines repeat themselves.

A test that runs the same few hundred lines a million times spends half its time on being measured, and tells nothing that
a shorter test of the same lines does not. Such a test says `@pytest.mark.repeats`; what only it reaches counts as missed.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from coverage import Coverage


@contextmanager
def unmeasured() -> Iterator[None]:
    """Pause the measuring, if there is any."""
    found = Coverage.current()
    if found is None:
        yield
        return
    found.stop()
    try:
        yield
    finally:
        found.start()


def save() -> None:
    """Write what was measured and stop: a process that is slow to end is killed by pytest-xdist, with all it knows."""
    found = Coverage.current()
    if found is not None:
        found.stop()
        found.save()
