"""The columns of back-test files, as `activity` describes them for the wire.

Rules: every column but ``event_id`` and ``occurred_at`` may be absent or empty; what is absent was not told, which is
never read as "no". Columns of other names are left alone and listed, so that a misspelt name is seen.
"""

from enum import StrEnum
from pathlib import Path
from typing import Final

from rules.backtest.errors import EventsFileError
from rules.event import KINDS

REQUIRED: Final = ("event_id", "occurred_at")
IDS: Final = ("account", "actor", "destination", "asset", "country", "ip", "asn", "device", "session")
AMOUNTS: Final = ("amount_usd", "balance_usd")
EVENTS: Final = ("event_id", "type", "occurred_at", *IDS, *AMOUNTS)
VERDICTS: Final = ("event_id", "verdict", "known_at")
SCORES: Final = ("event_id", "score", "p_value", "decision", "history", "reasons")

DEFAULT_TYPE: Final = "withdrawal.requested"
TYPES: Final = frozenset(kind for kind in KINDS if not kind.endswith("other"))
"""The types of activity that a file may name."""

BLOCK_ROWS: Final = 16_384
"""Rows handled at a time. A constant: what is written must not depend on how many processes share the work."""


class Format(StrEnum):
    """How a file is written, by its suffix."""

    PARQUET = "parquet"
    NDJSON = "ndjson"
    CSV = "csv"


_SUFFIXES: Final = {
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
    ".csv": Format.CSV,
}


def format_of(path: Path) -> Format:
    """The format of a file by its suffix. Raises :class:`EventsFileError`."""
    found = _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise EventsFileError(str(path), f"its suffix must be one of {', '.join(_SUFFIXES)}")
    return found
