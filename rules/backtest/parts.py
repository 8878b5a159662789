"""The two parts of a back-test that need no order: making rows for the kernel, and making words of what it said.

Rules: a part is a pure function of bytes. Data travels as Arrow IPC and the specification as JSON, never as pickled
objects, so that a part may come from another machine's folder. A wrong value comes back as a finding, not as an exception:
it is one of the results, and the same one wherever the part runs.
"""

from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from rules.arrays import F8
from rules.backtest.blocks import Block, from_ipc, to_ipc
from rules.backtest.encode import Encoded, encode
from rules.backtest.errors import BacktestError, CellError, EventsFileError
from rules.backtest.render import rendered
from rules.backtest.schema import Format

_GOOD: Final = b"+"
_BAD: Final = b"-"
DECODE: Final = "decode"
RENDER: Final = "render"


class DecodeSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What decoding a block needs to know beside its bytes."""

    number: int
    first_row: int
    rows: int
    lines: bool
    integer_ids: bool
    salt: str


class RenderSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rendering a block needs to know beside its numbers."""

    number: int
    format: Format
    integer_ids: bool


class Wrong(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A value that cannot be used: the column, the row counted from 1 in the file, and why."""

    column: str
    row: int | None
    problem: str


def run_part(kind: str, spec: bytes, payload: bytes) -> bytes:
    """Do one part. Raises :class:`BacktestError` for a kind that does not exist."""
    if kind == DECODE:
        return _decode(msgspec.json.decode(spec, type=DecodeSpec), payload)
    if kind == RENDER:
        return _render(msgspec.json.decode(spec, type=RenderSpec), payload)
    raise BacktestError(f"there is no part {kind!r} of a back-test: is the worker of the same version?")


def _decode(spec: DecodeSpec, payload: bytes) -> bytes:
    block = Block(spec.number, spec.first_row, spec.rows, spec.lines, payload)
    try:
        found = encode(block, integer_ids=spec.integer_ids, salt=spec.salt)
    except CellError as error:
        row = None if error.index is None else spec.first_row + error.index
        return _BAD + msgspec.json.encode(Wrong(error.column, row, error.problem))
    columns = {"event_id": found.identities, "digest": pa.array(found.digests), "row": packed(found.rows)}
    return _GOOD + to_ipc(pa.record_batch(columns))


def _render(spec: RenderSpec, payload: bytes) -> bytes:
    batch = from_ipc(payload)
    return _GOOD + rendered(batch.column("event_id"), unpacked(batch.column("out")), spec.format)


def decoded(file: str, answer: bytes) -> Encoded:
    """What ``decode`` gave. Raises :class:`EventsFileError` naming the file when it found a wrong value."""
    batch = from_ipc(_opened(file, answer))
    return Encoded(batch.column("event_id"), batch.column("digest").to_numpy(), unpacked(batch.column("row")))


def to_render(identities: Any, out: F8) -> bytes:
    """The data of a ``render`` part."""
    return to_ipc(pa.record_batch({"event_id": identities, "out": packed(out)}))


def finished(file: str, answer: bytes) -> bytes:
    """What ``render`` gave, ready for the writer."""
    return _opened(file, answer)


def _opened(file: str, answer: bytes) -> bytes:
    if answer[:1] == _GOOD:
        return answer[1:]
    if answer[:1] != _BAD:
        raise BacktestError("a part of the back-test came back empty or malformed: was its folder written to?")
    wrong = msgspec.json.decode(answer[1:], type=Wrong)
    raise EventsFileError(file, wrong.problem, column=wrong.column or None, row=wrong.row)


def packed(table: F8) -> Any:
    """Rows of numbers as one Arrow column, without copying."""
    flat = pa.array(np.ascontiguousarray(table).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, table.shape[1])


def unpacked(column: Any) -> F8:
    """The table of :func:`packed`; it may not be written to."""
    found: F8 = column.flatten().to_numpy().reshape(len(column), -1)
    return found
