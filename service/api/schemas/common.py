"""What the API's documents are made of: exact amounts as strings, severities as words, moments in UTC, clean text.

Rules: a document shows what its class declares and nothing else, so that a new column never leaves by itself; a body with
a field that we do not know is refused, because a misspelt field would silently be the default; text that people will read
holds no control characters, which could forge what a terminal shows (Unicode TR 36).
"""

from decimal import Decimal
from typing import Annotated, Any, Final, Literal
from unicodedata import category

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer

from service.domain.incident import Severity

_ALLOWED: Final = "\n\t\u200c\u200d"
"""Beside what prints: line feed, tab, and the zero-width (non-)joiners of Persian, Indic scripts and emoji."""


class Shown(BaseModel):
    """What leaves."""

    model_config = ConfigDict(extra="ignore")


class Body(BaseModel):
    """What comes in."""

    model_config = ConfigDict(extra="forbid")


def shows(example: dict[str, Any]) -> ConfigDict:
    """Return the configuration of a class whose OpenAPI schema carries an example; a test holds that it is a valid one."""
    return ConfigDict(json_schema_extra={"examples": [example]})


def _plain(text: str) -> str:
    text = text.replace("\r\n", "\n")
    for character in text:
        if not (character.isprintable() or character in _ALLOWED or category(character) == "Zs"):
            raise ValueError(f"must not hold control characters such as U+{ord(character):04X}")
    if not text.strip():
        raise ValueError("must say something")
    return text


def _word(value: object) -> object:
    return Severity(value).word if isinstance(value, int) else value


Words = Annotated[str, AfterValidator(_plain)]
"""Text that people read."""

SeverityWord = Annotated[Literal["low", "medium", "high", "critical"], BeforeValidator(_word)]

BaseUnits = Annotated[
    Decimal,
    PlainSerializer(lambda amount: f"{amount:f}", return_type=str),
    Field(description="Integer of the asset's smallest unit, as a decimal string."),
]
