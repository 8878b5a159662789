"""Keyset pages over tables whose text ids sort by creation: newest first, stable while rows are added."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Column, Connection, Select

MAX_LIMIT: Final = 200

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and the id after which the next page begins; None when this was the last."""

    rows: Sequence[Record]
    after: str | None


def page(connection: Connection, query: Select[Any], key: Column[Any], *, after: str | None, limit: int) -> Page:
    """Return up to `limit` rows (1 to 200) whose key is below `after`, newest first."""
    if after is not None:
        query = query.where(key < after)
    wanted = max(1, min(limit, MAX_LIMIT))
    rows = [dict(row) for row in connection.execute(query.order_by(key.desc()).limit(wanted + 1)).mappings()]
    more = len(rows) > wanted
    rows = rows[:wanted]
    return Page(rows, str(rows[-1][key.name]) if more else None)
