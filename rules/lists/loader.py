"""Names of things by their ids, in a small text format: what the tables of names that ship with the rules are read with.

Rules enforced here: a table is UTF-8 text, one entry a line, ``ID`` or ``ID<space># name``; empty lines and lines that start
with ``#`` are comments, and the first line must be ``# portcullis-list/v1 TITLE``. A line that cannot be read refuses the
whole file with its number: half a table is worse than none. Sizes are bounded; ids compare exactly. Lists of addresses are
no such tables: the service reads those, because it must know a mistyped address from a right one.
"""

import re
from pathlib import Path
from typing import Final

from rules.errors import ListFileError

MAX_FILE_BYTES: Final = 1024 * 1024
_HEADER: Final = re.compile(r"# portcullis-list/v1 [a-z][a-z0-9-]{1,63}")
_ENTRY: Final = re.compile(r"(\S{1,200})(?: +# *(.{1,200}))?")


def load_list(path: Path) -> dict[str, str]:
    """Each id with its name, which may be empty. Raises :class:`ListFileError` naming the file and line."""
    try:
        with path.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise ListFileError(f"{path.name}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ListFileError(f"{path.name}: byte {error.start}: is not UTF-8") from error
    if len(content) > MAX_FILE_BYTES:
        raise ListFileError(f"{path.name}: is larger than {MAX_FILE_BYTES} bytes")
    return _parse(path.name, text)


def _parse(file: str, text: str) -> dict[str, str]:
    lines = text.split("\n")
    if _HEADER.fullmatch(lines[0].rstrip()) is None:
        raise ListFileError(f"{file}: line 1: must be '# portcullis-list/v1 TITLE'")
    entries: dict[str, str] = {}
    for number, line in enumerate(lines[1:], 2):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        entry = _ENTRY.fullmatch(bare)
        if entry is None:
            raise ListFileError(f"{file}: line {number}: expected one id, optionally followed by ' # name'")
        if entry[1] in entries:
            raise ListFileError(f"{file}: line {number}: {entry[1]} is listed twice")
        entries[entry[1]] = entry[2] or ""
    return entries
