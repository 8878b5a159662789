"""A string that does not show itself: every repr, format and log line prints a placeholder."""

from typing import Final

REDACTED: Final = "[redacted]"


class Secret:
    """Holds one secret string; `reveal()` is the only way to it, so that a search finds every use."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret itself."""
        return self._value

    def __repr__(self) -> str:
        return f"Secret({REDACTED})"

    def __str__(self) -> str:
        return REDACTED

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))
