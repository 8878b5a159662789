"""Errors of a back-test: each names the file and, where there is one, the column and the row, and says what to do.

Rules: rows are counted as a person counts them, the first row of data is row 1; a value is shown shortened and with its
control characters escaped, because it comes from a file that nobody checked.
"""

from typing import ClassVar, Final

from rules.errors import RulesError

_SHOWN: Final = 60


class BacktestError(RulesError):
    """A back-test cannot be carried out as asked."""

    code: ClassVar[str] = "rules.backtest"


class EventsFileError(BacktestError):
    """A file of events or verdicts cannot be used; the message starts with the file, the column and the row."""

    code: ClassVar[str] = "rules.backtest_input"

    def __init__(self, file: str, problem: str, *, column: str | None = None, row: int | None = None) -> None:
        self.file = file
        self.column = column
        self.row = row
        self.problem = problem
        place = "".join((f", column {column}" if column else "", f", row {row:,}" if row is not None else ""))
        super().__init__(f"{file}{place}: {problem}")


class CellError(Exception):
    """One value of a block is out of range: where in the block, and why. Becomes an :class:`EventsFileError`."""

    def __init__(self, column: str, index: int | None, problem: str) -> None:
        self.column = column
        self.index = index
        self.problem = problem
        super().__init__(problem)


def shown(value: object) -> str:
    """A value of a file as an error message shows it."""
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
