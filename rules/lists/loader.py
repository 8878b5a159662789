"""Lists of known destinations, in a small format of our own.

Rules enforced here: a list is UTF-8 text, one entry a line, ``VALUE`` or ``VALUE<space># reason``; empty lines and lines
that start with ``#`` are comments, and the first line must be ``# portcullis-list/v1 NAME``. A line that cannot be read
refuses the whole file with its number: half a list is worse than none. Sizes are bounded; values compare exactly, and
without regard to case where they are EVM addresses (EIP-55 is a checksum, not another address).
"""

import hashlib
import re
from pathlib import Path
from typing import Final

import msgspec

from rules.errors import ListFileError

MAX_FILE_BYTES: Final = 16 * 1024 * 1024
_HEADER: Final = re.compile(r"# portcullis-list/v1 ([a-z][a-z0-9-]{1,63})")
_ENTRY: Final = re.compile(r"(\S{1,200})(?: +# *(.{1,200}))?")
_EVM: Final = re.compile(r"(?:eip155:\d+:)?0x[0-9a-fA-F]{40}")


class EntityList(msgspec.Struct, frozen=True):
    """A loaded list: ``entries`` maps each value to its reason, which may be empty."""

    name: str
    digest: str
    entries: dict[str, str]

    def reason(self, value: str) -> str | None:
        """Why a value is listed (possibly an empty text), or ``None`` when it is not."""
        return self.entries.get(normal(value))


def normal(value: str) -> str:
    """The form in which values are compared.

    >>> normal("eip155:1:0xEB31973E0FEBF3E3D7058234A5EBBAE1AB4B8C23")
    'eip155:1:0xeb31973e0febf3e3d7058234a5ebbae1ab4b8c23'
    """
    return value.lower() if _EVM.fullmatch(value) else value


def load_list(path: Path) -> EntityList:
    """A list from its file. Raises :class:`ListFileError` naming the file and line."""
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
    return _parse(path.name, text, hashlib.sha256(content).hexdigest())


def _parse(file: str, text: str, digest: str) -> EntityList:
    lines = text.split("\n")
    header = _HEADER.fullmatch(lines[0].rstrip())
    if header is None:
        raise ListFileError(f"{file}: line 1: must be '# portcullis-list/v1 NAME'")
    entries: dict[str, str] = {}
    for number, line in enumerate(lines[1:], 2):
        bare = line.strip()
        if not bare or bare.startswith("#"):
            continue
        entry = _ENTRY.fullmatch(bare)
        if entry is None:
            raise ListFileError(f"{file}: line {number}: expected one value, optionally followed by ' # reason'")
        value = normal(entry[1])
        if value in entries:
            raise ListFileError(f"{file}: line {number}: {entry[1]} is listed twice")
        entries[value] = entry[2] or ""
    return EntityList(header[1], digest, entries)
