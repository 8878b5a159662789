"""Where tests keep their files: in memory where there is room for them, else in /tmp.

A database is some 300 files. Making and dropping one took 20 ms of processor time in memory and 250 to 450 on ext4, and
the suite does it 600 times. Nothing that a test checks depends on it: what has to survive a power cut is tested by killing
processes, and a full disk by mounting one.
"""

import os
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108  the system's folder in memory; ours below it is private
DISK: Final = Path("/tmp")  # noqa: S108  short, because sockets go below it (unix(7)); ours below it is private
ROOM: Final = 4 * 2**30
"""Bytes that must be free; two workers at full work were seen to hold less than one GiB."""


def scratch() -> Path:
    """Return the folder to make folders in."""
    try:
        found = os.statvfs(MEMORY)
    except OSError:
        return DISK
    roomy = found.f_bavail * found.f_frsize >= ROOM and not found.f_flag & os.ST_NOEXEC
    return MEMORY if roomy and os.access(MEMORY, os.W_OK | os.X_OK) else DISK
