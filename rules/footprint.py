"""Give back the memory that the compiler's own code takes once everything is compiled.

Loading the kernel touches some 65 MB of a library that a running engine never calls again. Rules: only pages that are
exactly as in their file are given back: mappings of the file that nobody may write and of which no page was changed
(`Anonymous: 0` in smaps, proc(5)). `MADV_DONTNEED` (madvise(2)) makes the next access read such a page from the file
again, so nothing can see a difference but the clock. Where this cannot be told (not Linux), nothing is done.
"""

import ctypes
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

COMPILER: Final = "libllvmlite.so"
_DONT_NEED: Final = 4
_SMAPS: Final = Path("/proc/self/smaps")
_HEAD: Final = re.compile(r"^([0-9a-f]+)-([0-9a-f]+) (\S{4}) \S+ \S+ \d+ +(\S.*)$")


@dataclass(frozen=True, slots=True)
class Mapping:
    """One part of a file in memory; sizes in bytes."""

    start: int
    size: int
    writable: bool
    resident: int
    changed: int


def mappings(library: str = COMPILER) -> Iterator[Mapping]:
    """Yield the parts of a library that this process has mapped; none where that cannot be told."""
    try:
        lines = _SMAPS.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    head: re.Match[str] | None = None
    resident = 0
    for line in lines:
        if found := _HEAD.match(line):
            head = found if Path(found[4]).name == library else None
        elif head is not None and line.startswith("Rss:"):
            resident = _bytes(line)
        elif head is not None and line.startswith("Anonymous:"):
            start = int(head[1], 16)
            yield Mapping(start, int(head[2], 16) - start, "w" in head[3], resident, _bytes(line))


def give_back(library: str = COMPILER) -> int:
    """Give back what is unchanged of a library; returns how many bytes that were."""
    given = 0
    for part in mappings(library):
        if not part.writable and not part.changed and _advise(part.start, part.size):
            given += part.resident
    return given


def _advise(start: int, size: int) -> bool:
    libc = ctypes.CDLL(None)
    return not libc.madvise(ctypes.c_void_p(start), ctypes.c_size_t(size), _DONT_NEED)


def _bytes(line: str) -> int:
    """Of a line such as `Rss:  12 kB`."""
    return int(line.split()[1]) * 1024
