"""The time, as a dependency."""

from datetime import datetime
from typing import Protocol


class Clock(Protocol):
    """Tells the current time in UTC."""

    def now(self) -> datetime:
        """Return an aware datetime in UTC."""
        ...
