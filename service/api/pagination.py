"""Lists: newest first, by cursor. A cursor is opaque to the caller and holds the last id of the page before.

Rules: an unknown query parameter is an error, because a filter with a typing mistake would silently show everything; a
moment without an offset is refused, because whose midnight it means cannot be told.
"""

import base64
import binascii
from typing import Annotated, Generic, TypeVar

from fastapi import Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from service.domain.errors import InputError
from service.store.queries.pages import MAX_LIMIT, Page, Span

T = TypeVar("T", bound=BaseModel)

_LIMIT = "How many at most."
_CURSOR = "`next` of the page before."
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description=_LIMIT)]
Cursor = Annotated[str | None, Query(max_length=128, description=_CURSOR)]


class Paged(BaseModel):
    """What every list may be asked: which page."""

    model_config = ConfigDict(extra="forbid")

    cursor: str | None = Field(default=None, max_length=128, description=_CURSOR)
    limit: int = Field(default=50, ge=1, le=MAX_LIMIT, description=_LIMIT)

    def span(self) -> Span:
        """Return the part of the table that was asked for. Raises InputError for a cursor that is none of ours."""
        return Span(self.limit, decode(self.cursor))


class Asked(Paged):
    """What a list whose ids begin with their moment may be asked besides: from and until when."""

    since: AwareDatetime | None = Field(default=None, description="Not older than this (RFC 3339 with offset).")
    until: AwareDatetime | None = Field(default=None, description="Older than this (RFC 3339 with offset).")

    def span(self) -> Span:
        """As `Paged.span`, with the span of time."""
        return Span(self.limit, decode(self.cursor), self.since, self.until)


class Listing(BaseModel, Generic[T]):
    """One page."""

    items: list[T]
    next: str | None = Field(description="`cursor` of the next page; null on the last.")


def listing(page: Page, shown: type[T]) -> Listing[T]:
    """Return the answer for one page; only what `shown` declares leaves."""
    return Listing(items=[shown.model_validate(dict(row)) for row in page.rows], next=encode(page.after))


def encode(after: str | None) -> str | None:
    """Return the cursor for the rows after an id."""
    return None if after is None else base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def decode(cursor: str | None) -> str | None:
    """Return the id inside a cursor. Raises InputError."""
    if cursor is None:
        return None
    try:
        found = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError) as error:
        raise _not_ours() from error
    if not found or not all(c.isalnum() or c in "_.-" for c in found):
        raise _not_ours()
    return found


def _not_ours() -> InputError:
    return InputError("this is no cursor of ours: take `next` of the page before", field="cursor")
