"""Log files of the parts: private, bounded, and shown by their end when something fails."""

import os
from pathlib import Path
from typing import IO, Final

MOST_BYTES: Final = 32 * 1024 * 1024
LINES_SHOWN: Final = 12


def open_log(path: Path) -> IO[bytes]:
    """Open a log for appending; only its owner may read it, because a statement or a trace may stand in it."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600), "ab")


def tail(path: Path, lines: int = LINES_SHOWN) -> str:
    """Return the last lines of a log, or a note that there is none."""
    try:
        return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])
    except OSError as error:
        return f"(no log: {error})"


def rotate(path: Path) -> None:
    """Keep one older log once it has 32 MiB. Writers hold it open for appending, so it is copied and cut."""
    try:
        if path.stat().st_size < MOST_BYTES:
            return
        older = path.with_name(f"{path.name}.1")
        with path.open("rb") as source, open_log(older) as target:
            target.truncate(0)
            while block := source.read(1 << 20):
                target.write(block)
        os.truncate(path, 0)
    except FileNotFoundError:
        return
