"""Write SCORES whole or not at all.

Rules: rows go to a file beside the one asked for, which takes its name only when everything is on the disk; whatever ends
the back-test early takes the unfinished file with it. Bytes depend on the scores alone.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from rules.backtest.blocks import from_ipc
from rules.backtest.errors import EventsFileError
from rules.backtest.schema import Format, format_of

Write = Callable[[bytes], object]
"""Takes what the rendering of one block gave: lines of NDJSON, or Arrow IPC for the other formats."""


def scores_schema(*, integer_ids: bool) -> Any:
    """The Arrow schema of SCORES; ``event_id`` has the type it had in EVENTS."""
    return pa.schema(
        [
            pa.field("event_id", pa.int64() if integer_ids else pa.string()),
            pa.field("score", pa.float64()),
            pa.field("p_value", pa.float64()),
            pa.field("decision", pa.string()),
            pa.field("history", pa.string()),
            pa.field("reasons", pa.string()),
        ]
    )


@contextmanager
def scores_file(path: Path, *, integer_ids: bool) -> Iterator[Write]:
    """Open SCORES for writing; it stands under its name when the block ends well. Raises :class:`EventsFileError`."""
    with whole_file(path) as opened, _WRITERS[format_of(path)](opened, scores_schema(integer_ids=integer_ids)) as write:
        yield write


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """A file that takes its name only when the block ends well. Raises :class:`EventsFileError`."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        opened = os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666), "wb")
    except OSError as error:
        raise EventsFileError(str(path), f"cannot be written: {error.strerror or error}") from error
    try:
        with opened:
            yield opened
            opened.flush()
            os.fsync(opened.fileno())
        partial.replace(path)
    except OSError as error:
        raise EventsFileError(str(path), f"cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _parquet(opened: IO[bytes], schema: Any) -> Iterator[Write]:
    with pq.ParquetWriter(opened, schema, compression="zstd") as writer:
        yield lambda payload: writer.write_batch(from_ipc(payload))


@contextmanager
def _csv(opened: IO[bytes], schema: Any) -> Iterator[Write]:
    with pa_csv.CSVWriter(opened, schema) as writer:
        yield lambda payload: writer.write_batch(from_ipc(payload))


@contextmanager
def _ndjson(opened: IO[bytes], _schema: Any) -> Iterator[Write]:
    yield opened.write


_WRITERS: Final[dict[Format, Callable[[IO[bytes], Any], Any]]] = {
    Format.PARQUET: _parquet,
    Format.CSV: _csv,
    Format.NDJSON: _ndjson,
}
