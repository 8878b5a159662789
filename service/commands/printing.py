"""Printing what the API told: tables for people, JSON for programs.

Rules: what comes from outside is text and never markup, and its control characters are shown as U+FFFD, because a comment
or a platform's id could otherwise forge what the terminal shows; without a terminal a table is wide enough to be searched
line by line.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

WIDTH_WITHOUT_TERMINAL: Final = 200
MOMENT: Final = 19
"""Length of a moment to the second."""

Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
Limit = Annotated[int, typer.Option(min=1, max=200, help="How many at most.")]
Cursor = Annotated[str | None, typer.Option(help="`next` of the page before.")]


def console() -> Console:
    """Return the console that results go to."""
    found = Console(markup=False, highlight=False)
    return found if found.is_terminal else Console(width=WIDTH_WITHOUT_TERMINAL, markup=False, highlight=False)


def plain(value: object) -> str:
    """Return a value as text that a terminal shows as it is."""
    if value is None:
        return ""
    if isinstance(value, list):
        return ", ".join(plain(item) for item in value)
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(value))


def moment(value: object) -> str:
    """Return an RFC 3339 moment to the second, in UTC."""
    return plain(value)[:MOMENT].replace("T", " ")


def print_json(found: Mapping[str, Any]) -> None:
    """Print a document; every character beyond ASCII is escaped."""
    typer.echo(json.dumps(found, indent=1, sort_keys=True))


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """Return a table of texts."""
    made = Table(*heads, title=Text(title))
    for row in rows:
        made.add_row(*(Text(plain(cell)) for cell in row))
    return made


def print_page(found: Mapping[str, Any], made: Table) -> None:
    """Print one page of a list, and how to get the next."""
    console().print(made)
    if found.get("next"):
        typer.echo(f"there is more: --cursor {plain(found['next'])}", err=True)


def segment(identity: str) -> str:
    """Return an id as one segment of a path, whatever was typed."""
    return quote(identity, safe="")
