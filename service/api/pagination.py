"""Cursors: opaque to the caller, the last id inside; a page says where the next begins."""

import base64
import binascii
from typing import Annotated

from fastapi import Query

from service.domain.errors import InputError
from service.store.queries.pages import MAX_LIMIT, Page

Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="How many at most.")]
Cursor = Annotated[str | None, Query(max_length=128, description="`next` of the page before.")]


def encode(after: str | None) -> str | None:
    """Return the cursor for the rows after an id."""
    return None if after is None else base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def decode(cursor: str | None) -> str | None:
    """Return the id inside a cursor. Raises InputError."""
    if cursor is None:
        return None
    try:
        return base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise InputError("this is no cursor of ours: take `next` of the page before", field="cursor") from error


def envelope(page: Page) -> dict[str, object]:
    """Return the answer for one page: items and the cursor of the next."""
    return {"items": page.rows, "next": encode(page.after)}
