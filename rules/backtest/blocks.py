"""Cut a file of events or verdicts into blocks of rows, in order, without holding more than one.

Rules: where a block ends depends on the file alone, never on who works on it. A block is handed over as bytes (Arrow IPC,
or the lines of NDJSON as they stand), so that it can be decoded in another process or on another machine.
"""

import csv
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from rules.backtest.errors import EventsFileError
from rules.backtest.schema import BLOCK_ROWS, Format, format_of

_CSV_BLOCK_BYTES: Final = 2 << 20
_MAX_LINE_BYTES: Final = 1 << 20


class Block(NamedTuple):
    """Some rows of a file. ``first_row`` is the number of the first, counted from 1; ``lines``: NDJSON, else Arrow IPC."""

    number: int
    first_row: int
    rows: int
    lines: bool
    payload: bytes


Known = tuple[list[str], bool, int | None]
"""Names of columns, whether ids are integers, number of rows where it stands in the file."""


class Source(NamedTuple):
    """A file that was opened far enough to know its columns."""

    path: Path
    columns: tuple[str, ...]
    ignored: tuple[str, ...]
    integer_ids: bool
    """Whether ``event_id`` is a column of integers (NDJSON: whether the first row's is one)."""
    rows: int | None
    """How many rows there are, where the file says so."""


def open_source(path: Path, known: Sequence[str], required: Sequence[str]) -> Source:
    """What columns a file has. Raises :class:`EventsFileError` when it cannot be read or lacks a required one."""
    with _readable(path):
        path.open("rb").close()  # the system's own words for a file that cannot be opened
        found, integer_ids, rows = _COLUMNS[format_of(path)](path)
    if len(set(found)) != len(found):
        twice = sorted({name for name in found if found.count(name) > 1})
        raise EventsFileError(str(path), f"has the column {twice[0]} more than once: remove or rename one")
    missing = [name for name in required if name not in found]
    if missing and found:
        raise EventsFileError(
            str(path), f"has no column {missing[0]}; it has {', '.join(found[:20])}: rename the column that holds it"
        )
    columns = tuple(name for name in known if name in found)
    return Source(path, columns, tuple(name for name in found if name not in known), integer_ids, rows)


def blocks(source: Source) -> Iterator[Block]:
    """The blocks of a file in order. Raises :class:`EventsFileError`."""
    with _readable(source.path):
        yield from _BLOCKS[format_of(source.path)](source)


def to_ipc(batch: pa.RecordBatch) -> bytes:
    """A batch as one Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return bytes(sink.getvalue())


def from_ipc(payload: bytes) -> pa.RecordBatch:
    """The batch of :func:`to_ipc`."""
    with pa.ipc.open_stream(payload) as stream:
        return stream.read_next_batch()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except pa.ArrowException as error:
        reason = " ".join(str(error).split())
        raise EventsFileError(str(path), f"cannot be read as {format_of(path)}: {reason[:300]}") from error
    except UnicodeDecodeError as error:
        raise EventsFileError(str(path), "is not UTF-8 text: save it as UTF-8") from error
    except OSError as error:
        raise EventsFileError(str(path), f"cannot be read: {error.strerror or error}") from error


def _parquet_columns(path: Path) -> Known:
    with pq.ParquetFile(path) as opened:
        schema = opened.schema_arrow
        at = schema.get_field_index("event_id")
        return list(schema.names), at >= 0 and pa.types.is_integer(schema.field(at).type), opened.metadata.num_rows


def _csv_columns(path: Path) -> Known:
    with path.open(encoding="utf-8-sig", newline="") as opened:
        return next(csv.reader(opened), []), False, None


def _ndjson_columns(path: Path) -> Known:
    """The fields of the first line; later lines may have others of the known ones."""
    with path.open("rb") as opened:
        for line in iter(lambda: opened.readline(_MAX_LINE_BYTES), b""):
            if line.strip():
                try:
                    found = json.loads(line)
                except (ValueError, RecursionError) as error:
                    raise EventsFileError(str(path), f"is not JSON: {error}", row=1) from error
                if not isinstance(found, dict):
                    raise EventsFileError(str(path), "must be one JSON object on each line", row=1)
                return list(found), type(found.get("event_id")) is int, None
    return [], False, None


def _parquet_blocks(source: Source) -> Iterator[Block]:
    with pq.ParquetFile(source.path) as opened:
        yield from _numbered(opened.iter_batches(batch_size=BLOCK_ROWS, columns=list(source.columns)))


def _csv_blocks(source: Source) -> Iterator[Block]:
    if not source.columns:
        return
    texts = pa_csv.ConvertOptions(
        column_types={name: pa.string() for name in source.columns},
        include_columns=list(source.columns),
        null_values=[""],
        strings_can_be_null=True,
    )
    with pa_csv.open_csv(
        source.path,
        read_options=pa_csv.ReadOptions(block_size=_CSV_BLOCK_BYTES, use_threads=False),
        parse_options=pa_csv.ParseOptions(newlines_in_values=True),
        convert_options=texts,
    ) as opened:
        yield from _numbered(iter(opened))


def _numbered(batches: Iterator[pa.RecordBatch]) -> Iterator[Block]:
    first, number = 1, 0
    for batch in batches:
        for start in range(0, batch.num_rows, BLOCK_ROWS):
            part = batch.slice(start, BLOCK_ROWS)
            yield Block(number, first, part.num_rows, lines=False, payload=to_ipc(part))
            first, number = first + part.num_rows, number + 1


def _ndjson_blocks(source: Source) -> Iterator[Block]:
    first, number = 1, 0
    lines: list[bytes] = []
    with source.path.open("rb") as opened:
        for line in iter(lambda: opened.readline(_MAX_LINE_BYTES + 1), b""):
            if len(line) > _MAX_LINE_BYTES:
                problem = f"the line is longer than {_MAX_LINE_BYTES:,} bytes"
                raise EventsFileError(str(source.path), problem, row=first + len(lines))
            if line.strip():
                lines.append(line.strip())
            if len(lines) == BLOCK_ROWS:
                yield Block(number, first, len(lines), lines=True, payload=b"\n".join(lines))
                first, number, lines = first + len(lines), number + 1, []
    if lines:
        yield Block(number, first, len(lines), lines=True, payload=b"\n".join(lines))


_COLUMNS: Final[dict[Format, Callable[[Path], Known]]] = {
    Format.PARQUET: _parquet_columns,
    Format.CSV: _csv_columns,
    Format.NDJSON: _ndjson_columns,
}
_BLOCKS: Final[dict[Format, Callable[[Source], Iterator[Block]]]] = {
    Format.PARQUET: _parquet_blocks,
    Format.CSV: _csv_blocks,
    Format.NDJSON: _ndjson_blocks,
}
