"""Lists of the API as one table each: which call, and what stands in each column.

Rules: one command is one call of the API, under the caller's own token; `--json` prints what the API told, whole; a page
says how to get the next one.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from service.commands.client import fetch
from service.commands.printing import moment, print_json, print_page, table

Item: TypeAlias = Mapping[str, Any]
Column: TypeAlias = str | Callable[[Item], object]
"""The field that a column shows, or how its text is made of the item."""


def show_list(title: str, path: str, columns: Mapping[str, Column], *, as_json: bool, **query: object) -> None:
    """Print a list of the API with one column a heading. A query of None, or a switch that is off, is not asked for."""
    asked = {name: str(value) for name, value in query.items() if value is not None and value is not False}
    found = fetch(path, **asked)
    if as_json:
        print_json(found)
        return
    rows = [[_cell(column, item) for column in columns.values()] for item in found["items"]]
    print_page(found, table(title, tuple(columns), rows))


def when(field: str) -> Column:
    """Return the column of a moment, to the second."""
    return lambda item: moment(item[field])


def score(item: Item) -> str:
    """Return an item's score with one decimal; nothing where none was told."""
    return "" if item["score"] is None else f"{item['score']:.1f}"


def _cell(column: Column, item: Item) -> object:
    return item[column] if isinstance(column, str) else column(item)
