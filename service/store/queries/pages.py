"""Keyset pages over tables whose ids grow with time: newest first, stable while rows are added.

Text ids begin with their moment (`domain/ids.py`), so a span of time is a span of ids and costs no further index.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from sqlalchemy import Column, Connection, Select

from service.domain.errors import InputError
from service.domain.ids import first_id_at

MAX_LIMIT: Final = 200
_MAX_BIGINT: Final = 2**63 - 1

Record = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Span:
    """Which rows: at most `limit` (1 to 200) below the id `after`, from `since` on and before `until`."""

    limit: int = 50
    after: str | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Rows, and the id after which the next page begins; None when this was the last."""

    rows: Sequence[Record]
    after: str | None


def page(connection: Connection, query: Select[Any], key: Column[Any], span: Span, kind: str = "") -> Page:
    """Return one page, newest first. `kind` is the ids' prefix; without it `key` counts and a time span means nothing."""
    if span.after is not None:
        query = query.where(key < (span.after if kind else _number(span.after)))
    if kind and span.since is not None:
        query = query.where(key >= first_id_at(kind, span.since))
    if kind and span.until is not None:
        query = query.where(key < first_id_at(kind, span.until))
    wanted = max(1, min(span.limit, MAX_LIMIT))
    rows = [dict(row) for row in connection.execute(query.order_by(key.desc()).limit(wanted + 1)).mappings()]
    more = len(rows) > wanted
    rows = rows[:wanted]
    return Page(rows, str(rows[-1][key.name]) if more else None)


def _number(text: str) -> int:
    if not text.isdecimal() or int(text) > _MAX_BIGINT:
        raise InputError("this is no cursor of this list: take `next` of the page before", field="cursor")
    return int(text)
