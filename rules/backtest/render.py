"""Turn rows of the kernel's numbers into SCORES: order-free, so any process may do it.

Rules: every score is finite; a reason is the sentence part that the live service shows for the same numbers; text depends
on the numbers alone.
"""

from typing import Any, Final

import msgspec
import numpy as np
import pyarrow as pa

from rules.arrays import F8
from rules.backtest.blocks import to_ipc
from rules.backtest.schema import SCORES, Format
from rules.explain import among_peers, reason_for
from rules.outcome import (
    MAX_REASONS,
    O_BY_GROUP,
    O_DECISION,
    O_HISTORY,
    O_P_VALUE,
    O_REASONS,
    O_SCORE,
    REASON_WIDTH,
    TOLD_FROM,
    W_FEATURE,
    W_HIGH,
    W_LOW,
    W_SHARE,
    W_VALUE,
)

DECISIONS: Final = ("allow", "alert", "hold")
HISTORIES: Final = ("not_enough", "enough")


class ShownReason(msgspec.Struct, frozen=True):
    """A reason as SCORES carries it."""

    feature: str
    observed: str
    usual: str
    share: float


_ENCODER: Final = msgspec.json.Encoder()


def reasons_of(row: F8) -> list[ShownReason]:
    """The reasons in one row of the kernel's numbers: told, as live, when it was raised or is among the highest tenth."""
    found: list[ShownReason] = []
    if row[O_DECISION] == 0.0 and row[O_SCORE] < TOLD_FROM:
        return found
    for place in range(O_REASONS, O_REASONS + MAX_REASONS * REASON_WIDTH, REASON_WIDTH):
        index = int(row[place + W_FEATURE])
        if index < 0:
            break
        value, low, high = float(row[place + W_VALUE]), float(row[place + W_LOW]), float(row[place + W_HIGH])
        reason = reason_for(index, value, low, high, float(row[place + W_SHARE]), None)
        reason = among_peers(reason, float(row[O_BY_GROUP]))
        found.append(ShownReason(reason.feature, reason.observed, reason.usual, round(reason.share, 4)))
    return found


def rendered(identities: Any, out: F8, format_: Format) -> bytes:
    """One block of SCORES: lines of NDJSON, or Arrow IPC of the columns."""
    reasons = [_ENCODER.encode(reasons_of(row)) for row in out]
    decisions = [DECISIONS[int(code)] for code in out[:, O_DECISION]]
    histories = [HISTORIES[int(code)] for code in out[:, O_HISTORY]]
    if format_ is Format.NDJSON:
        columns = (
            identities.to_pylist(), out[:, O_SCORE].tolist(), out[:, O_P_VALUE].tolist(), decisions, histories,
            map(msgspec.Raw, reasons),
        )  # fmt: skip
        return _ENCODER.encode_lines(dict(zip(SCORES, row, strict=True)) for row in zip(*columns, strict=True))
    numbers = [pa.array(np.ascontiguousarray(out[:, word])) for word in (O_SCORE, O_P_VALUE)]
    texts = [pa.array(column, pa.string()) for column in (decisions, histories, [text.decode() for text in reasons])]
    return to_ipc(pa.record_batch([identities, *numbers, *texts], names=list(SCORES)))
