"""Check one block of rows and turn it into columns, whatever the file's format.

Rules enforced here:
- An id may be text or an integer; both are the same id (``7`` and ``"7"``). Dataframes write an integer column with gaps
  as floats: whole floats are integers. Empty text and NaN mean "not told".
- Times are UTC when they name no zone, and ascend; an amount is finite and not negative.
- A value that is none of this stops the back-test and is named with its column and row: nothing is guessed or dropped.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from rules.arrays import F8, I8
from rules.backtest.blocks import Block, from_ipc
from rules.backtest.errors import CellError, shown
from rules.backtest.schema import AMOUNTS
from rules.observation import MAX_TIME_US

MAX_ID: Final = 200
"""Longest id, as on the wire."""

_TIME: Final = re.compile(r"\d{4}-\d\d-\d\d(?:[Tt ].+)?", re.ASCII)
"""What Python reads besides, such as any sign between day and hour, may be another time than was meant (RFC 3339, 5.6)."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_US: Final = timedelta(microseconds=1)
_EXACT: Final = float(1 << 53)

Batch = Mapping[str, Any]
"""Arrow arrays by column; the library ships no types."""


class Texts(NamedTuple):
    """A column of text, each distinct one once: ``codes`` index ``texts``, -1 where nothing is told."""

    codes: I8
    texts: list[str]


def batch_of(block: Block, names: Iterable[str]) -> Batch:
    """The known columns of a block as Arrow arrays. Raises :class:`CellError` for a line that is not an object."""
    if not block.lines:
        batch = from_ipc(block.payload)
        return {name: batch.column(name) for name in batch.schema.names}
    wanted = tuple(names)
    columns: dict[str, list[object]] = {name: [] for name in wanted}
    decode = msgspec.json.Decoder().decode
    for index, line in enumerate(block.payload.split(b"\n")):
        try:
            found = decode(line)
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
            raise CellError("", index, f"is not JSON: {error}") from error
        if not isinstance(found, dict):
            raise CellError("", index, "must be a JSON object")
        for name in wanted:
            columns[name].append(found.get(name))
    return {name: _array(name, values) for name, values in columns.items()}


def _array(name: str, values: list[object]) -> Any:
    kinds = {type(value) for value in values} - {type(None)}
    bad = kinds - {str, int, float}
    if bad:
        index = next(i for i, value in enumerate(values) if type(value) in bad)
        raise CellError(name, index, f"{shown(values[index])} must be text or a number")
    if str not in kinds:
        try:
            return pa.array(values, pa.float64() if float in kinds else pa.int64())
        except pa.ArrowException:
            pass  # an integer beyond 64 bits: an id like any other
    return pa.array(
        [None if value is None else _plain(name, at, value) for at, value in enumerate(values)], pa.string()
    )


def _plain(name: str, index: int, value: object) -> str:
    if isinstance(value, float) and name not in AMOUNTS:
        if not value.is_integer():
            raise CellError(name, index, f"{shown(value)} is neither text nor a whole number")
        return str(int(value))
    return str(value)


def ids(name: str, column: Any, *, longest: int = MAX_ID) -> Any:
    """A column of ids as Arrow text. Raises :class:`CellError`."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return ids(name, column.dictionary_decode(), longest=longest)
    if pa.types.is_floating(kind):
        numbers = floats(column)
        told = ~np.isnan(numbers)
        whole = np.abs(np.where(told, numbers, 0.0)) < _EXACT
        whole &= np.where(told & whole, numbers, 0.0) == np.floor(np.where(told & whole, numbers, 0.0))
        _refuse(name, ~whole, column, "is neither text nor a whole number")
        column = pa.array(np.where(told, numbers, 0.0).astype(np.int64), mask=~told)
    elif not (pa.types.is_integer(kind) or _is_text(kind) or pa.types.is_null(kind)):
        raise CellError(name, None, f"holds {kind}: an id is text or an integer")
    texts = column.cast(pa.string())
    lengths = _numbers(pc.utf8_length(texts))
    _refuse(name, lengths > longest, texts, f"is longer than {longest} characters")
    nul = pc.fill_null(pc.match_substring(texts, "\0"), fill_value=False)
    _refuse(name, np.asarray(nul.to_numpy(zero_copy_only=False), dtype=bool), texts, "holds a NUL character")
    return pc.if_else(pc.equal(lengths, 0), pa.scalar(None, pa.string()), texts) if (lengths == 0).any() else texts


def texts_of(column: Any) -> Texts:
    """An Arrow text column, each distinct text once."""
    encoded = column.dictionary_encode()
    codes = pc.fill_null(encoded.indices.cast(pa.int64()), -1).to_numpy(zero_copy_only=False)
    return Texts(codes, encoded.dictionary.to_pylist())


def times(name: str, column: Any) -> I8:
    """Epoch microseconds, UTC. Raises :class:`CellError` for what is missing, malformed or out of range."""
    kind = column.type
    if pa.types.is_timestamp(kind):
        exact = kind.unit != "ns"
        column = column.cast(pa.timestamp("us", kind.tz), safe=exact).cast(pa.int64())
    elif _is_text(kind):
        column = pa.array(_parsed(name, column.to_pylist()), pa.int64())
    elif not pa.types.is_null(kind):
        raise CellError(name, None, f"holds {kind}: it must hold timestamps or RFC 3339 text")
    absent = np.asarray(column.is_null().to_numpy(zero_copy_only=False), dtype=bool)
    _refuse(name, absent, column, "is missing: every row needs one")
    found: I8 = column.to_numpy(zero_copy_only=False).astype(np.int64)
    _refuse(name, (found < 0) | (found > MAX_TIME_US), column, "µs since 1970 is not between the years 1970 and 2100")
    return found


def _parsed(name: str, values: list[str | None]) -> list[int | None]:
    found: list[int | None] = []
    for index, value in enumerate(values):
        if value is None:
            found.append(None)
            continue
        try:
            moment = _moment(value)
        except ValueError:
            raise CellError(name, index, f"{shown(value)} is no time such as 2020-09-25T18:51:00Z") from None
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        found.append((moment - _EPOCH) // _US)
    return found


def _moment(value: str) -> datetime:
    if not _TIME.fullmatch(value):
        raise ValueError(value)
    return datetime.fromisoformat(value)


def amounts(name: str, column: Any) -> F8:
    """USD; NaN where nothing is told. Raises :class:`CellError` for what is negative, infinite or no number."""
    kind = column.type
    if _is_text(kind):
        column = _each_cast(name, column)
    elif not (
        pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_null(kind)
    ):
        raise CellError(name, None, f"holds {kind}: it must hold numbers")
    found = floats(column)
    _refuse(name, (found < 0.0) | np.isinf(found), column, "must be a finite number, zero or more")
    return found


def _each_cast(name: str, column: Any) -> Any:
    try:
        return column.cast(pa.float64())
    except pa.ArrowException:
        for index, value in enumerate(column.to_pylist()):
            try:
                float(value if value is not None else 0)
            except ValueError:
                raise CellError(name, index, f"{shown(value)} is no number") from None
        raise CellError(name, None, "holds text that is no number such as 1234.50") from None


def floats(column: Any) -> F8:
    """Any numeric Arrow column as float64, NaN for null."""
    found: F8 = pc.fill_null(column.cast(pa.float64(), safe=False), float("nan")).to_numpy(zero_copy_only=False)
    return found


def check_ascending(name: str, found: I8) -> None:
    """Raises :class:`CellError` at the first time that is before the one above it."""
    falls = np.flatnonzero(np.diff(found) < 0)
    if falls.size:
        raise CellError(name, int(falls[0]) + 1, f"is before the row above it: sort the file by {name}")


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _numbers(column: Any) -> I8:
    found: I8 = pc.fill_null(column, -1).to_numpy(zero_copy_only=False)
    return found


def _refuse(name: str, bad: npt.NDArray[np.bool_], column: Any, problem: str) -> None:
    if bad.any():
        index = int(np.argmax(bad))
        raise CellError(name, index, f"{shown(column[index].as_py())} {problem}")


def each(texts: Texts, of: Callable[[str], float], absent: float) -> F8:
    """A number for every row, worked out once for each distinct text."""
    table = np.array([*(of(text) for text in texts.texts), absent], dtype=np.float64)
    found: F8 = table[texts.codes]
    return found
