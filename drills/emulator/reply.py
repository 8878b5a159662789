"""What a handler is given and what it answers, without a web framework."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeVar

import msgspec

from drills.emulator.errors import FieldError

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One authenticated request."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    base_url: str
    api_key: str = ""

    def read(self, kind: type[T]) -> T:
        """Decode the JSON body; FieldError names what is wrong."""
        try:
            return msgspec.json.decode(self.body or b"{}", type=kind)
        except msgspec.MsgspecError as error:
            raise FieldError(f"body: {error}") from None

    def number(self, name: str, default: int, largest: int) -> int:
        """Read a whole number from the query; FieldError."""
        text = self.query.get(name)
        if text is None:
            return default
        try:
            value = int(text)
        except ValueError:
            raise FieldError(f"{name}: {text[:40]!r} is not a whole number") from None
        if not 0 <= value <= largest:
            raise FieldError(f"{name}: give a number from 0 to {largest}")
        return value


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer; `body` None: no content."""

    status: int
    body: object = None
    headers: Mapping[str, str] = field(default_factory=dict)


def ok(body: object) -> Reply:
    """Return 200 with a body."""
    return Reply(200, body)
