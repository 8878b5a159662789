"""The numbers that a person tells when he asks for an action, as words of an event: `before=2 owners=5 signatures=3`."""

import re
from collections.abc import Mapping
from typing import Final

from service.domain.errors import InputError

MOST: Final = 8
"""More than any action takes."""
LARGEST: Final = 999_999
_WORD: Final = re.compile("([a-z_]{1,32})=([0-9]{1,6})")


def to_words(numbers: Mapping[str, int]) -> str:
    """Return them in the order of their names. Raises InputError for what `from_words` would not read."""
    words = " ".join(f"{name}={number}" for name, number in sorted(numbers.items()))
    if from_words(words) != dict(numbers):
        raise InputError(f"a number is told as name=number, 0 to {LARGEST}", field="numbers")
    return words


def from_words(words: str) -> Mapping[str, int]:
    """Return them by name. Raises InputError for anything else."""
    found = [_WORD.fullmatch(word) for word in words.split(" ")] if words else []
    pairs = [(one[1], int(one[2])) for one in found if one is not None]
    if len(pairs) != len(found) or len(dict(pairs)) != len(pairs) or len(pairs) > MOST:
        raise InputError(f"numbers are told as name=number, each name once, {MOST} at most", field="numbers")
    return dict(pairs)
