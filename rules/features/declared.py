"""How a feature is declared, once: its name, unit, what it reads, when it is null, how it enters the score.

Rules enforced here:
- A feature's value is a float, NaN when it cannot be told. Rules see the value under the feature's name and its
  surprisal under ``NAME_surprise``; nothing else exists for them.
- Features that measure one thing at several scales share a ``group``: only the largest surprisal of a group enters the
  score, so that one fact is not counted many times.
- A name is declared once; a second declaration is a programming error and stops the import.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

_GROUPED_FROM: Final = 1000.0
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_DAY_S: Final = 86_400.0


def plain(value: float) -> str:
    """A number: whole from a thousand on, else in four significant digits.

    >>> plain(0.12345), plain(1234567.0), plain(3.0)
    ('0.1235', '1,234,567', '3')
    """
    return f"{value:,.0f}" if value >= _GROUPED_FROM else f"{value:.4g}"


def dollars(value: float) -> str:
    """US dollars.

    >>> dollars(4008000.0)
    '4,008,000 USD'
    """
    return f"{plain(value)} USD"


def percent(value: float) -> str:
    """A share as a percentage.

    >>> percent(0.098)
    '9.8 %'
    """
    return f"{plain(value * 100.0)} %"


def yes_no(value: float) -> str:
    """A fact.

    >>> yes_no(1.0), yes_no(0.0)
    ('yes', 'no')
    """
    return "yes" if value else "no"


def duration(seconds: float) -> str:
    """A time span in its largest fitting unit.

    >>> duration(90.0), duration(7200.0), duration(864000.0)
    ('90 s', '2 h', '10 d')
    """
    if seconds < 2 * _MINUTE_S:
        return f"{plain(seconds)} s"
    if seconds < 2 * _HOUR_S:
        return f"{plain(seconds / _MINUTE_S)} min"
    return f"{plain(seconds / _HOUR_S)} h" if seconds < 2 * _DAY_S else f"{plain(seconds / _DAY_S)} d"


def seen_in(rate: float) -> str:
    """How often something is usual, for facts.

    >>> seen_in(0.02)
    'in 2 % of cases'
    """
    return f"in {percent(rate)} of cases"


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def hour_of_week(value: float) -> str:
    """An hour of the week, UTC.

    >>> hour_of_week(27.0)
    'Tue 03h UTC'
    """
    return f"{_DAYS[int(value) // 24]} {int(value) % 24:02d}h UTC"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One declared feature. ``scored`` is false for values that only rules read."""

    index: int
    name: str
    unit: str
    reads: str
    null_when: str
    group: str
    scored: bool
    show: Callable[[float], str]
    show_usual: Callable[[float], str]


DECLARED: Final[list[Feature]] = []
"""All features in the order of their declaration. Read it through ``rules.features.catalogue``."""


def from_log10(show: Callable[[float], str], less: float = 0.0) -> Callable[[float], str]:
    """Show a usual value that is kept as the log10 of itself plus ``less``.

    >>> from_log10(dollars)(3.0)
    '1,000 USD'
    """
    return lambda mean: show(max(0.0, 10.0**mean - less))


UNSCORED: Final = ""
"""The group of features that only rules read."""


class Shown(NamedTuple):
    """How to put a feature's value, and its usual value, into words."""

    value: Callable[[float], str]
    usual: Callable[[float], str]


def declare(
    name: str,
    *,
    unit: str,
    reads: str,
    null_when: str,
    group: str | None = None,
    show: Callable[[float], str] | Shown = plain,
) -> int:
    """Declare a feature and return its index in every vector of values.

    ``group`` is the feature's own name unless given. ``show`` alone also shows the usual value, which for a fact
    (``yes_no``) is how often it is so.
    """
    if any(feature.name == name for feature in DECLARED):
        raise ValueError(f"feature {name} is declared twice")
    shown = show if isinstance(show, Shown) else Shown(show, seen_in if show is yes_no else show)
    feature = Feature(
        index=len(DECLARED),
        name=name,
        unit=unit,
        reads=reads,
        null_when=null_when,
        group=name if group is None else group,
        scored=group != UNSCORED,
        show=shown.value,
        show_usual=shown.usual,
    )
    DECLARED.append(feature)
    return feature.index
