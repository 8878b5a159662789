"""How a feature is declared, once: its name, unit, what it reads, when it is null, how it enters the score.

Rules enforced here:
- A feature's value is a float, NaN when it cannot be told. Rules see the value under the feature's name and its
  surprisal under ``NAME_surprise``; nothing else exists for them.
- The usual range is told in the value's own unit, so that it needs no second explanation: about nine of ten values of
  this entity lie in it. For a fact it is how often it is so.
- Features that measure one thing at several scales share a ``group``: inside it evidence is averaged, so that one fact is
  not counted many times; groups multiply (``rules.fusion``).
- A feature's ``weight`` is the prior share of attacks that show in it: size and destinations more, habits less.
- A name is declared once; a second declaration is a programming error and stops the import.
"""

from collections.abc import Callable
from dataclasses import dataclass
from math import floor, log10
from typing import Final, NamedTuple

from rules.features.names import INDEX

_GROUPED_FROM: Final = 1000.0
_MINUTE_S: Final = 60.0
_HOUR_S: Final = 3600.0
_DAY_S: Final = 86_400.0
_SELDOM: Final = 0.001


def plain(value: float) -> str:
    """A number: whole from a thousand on, else in four significant digits.

    >>> plain(0.12345), plain(1234567.0), plain(3.0)
    ('0.1235', '1,234,567', '3')
    """
    return f"{value:,.0f}" if abs(value) >= _GROUPED_FROM else f"{value:.4g}"


def dollars(value: float) -> str:
    """US dollars.

    >>> dollars(4008000.0)
    '4,008,000 USD'
    """
    return f"{plain(value)} USD"


def days(value: float) -> str:
    """A number of days.

    >>> days(93.04)
    '93.04 d'
    """
    return f"{plain(value)} d"


def speed(value: float) -> str:
    """A speed in kilometres an hour.

    >>> speed(7631.2)
    '7,631 km/h'
    """
    return f"{plain(value)} km/h"


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


_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")


def hour_of_week(value: float) -> str:
    """An hour of the week, UTC.

    >>> hour_of_week(27.0)
    'Tue 03h UTC'
    """
    return f"{_DAYS[int(value) // 24]} {int(value) % 24:02d}h UTC"


def rough(value: float) -> float:
    """A number in two significant digits: the ends of a range are no more certain than that.

    >>> rough(41.7), rough(0.0), rough(-18_342.0)
    (42.0, 0.0, -18000.0)
    """
    return round(value, 1 - floor(log10(abs(value)))) if value else 0.0


def between(show: Callable[[float], str]) -> "Range":
    r"""Show a range by its two ends, with the unit once where both have the same.

    >>> between(dollars)(40.4, 899.0) == "40\N{EN DASH}900 USD", between(plain)(3.0, 3.0)
    (True, '3')
    """

    def shown(low: float, high: float) -> str:
        one, other = show(rough(low)), show(rough(high))
        if one == other:
            return one
        number, _, unit = one.partition(" ")
        _, _, same = other.partition(" ")
        dash = "\N{EN DASH}"
        return f"{number}{dash}{other}" if unit == same else f"{one} {dash} {other}"

    return shown


def seen_in(low: float, _high: float) -> str:
    """How often a fact is usual; both ends of its range are its rate.

    >>> seen_in(0.02, 0.02), seen_in(0.0, 0.0), seen_in(0.0004, 0.0004)
    ('in 2 % of cases', 'in 0 % of cases', 'in less than 0.1 % of cases')
    """
    if 0.0 < low < _SELDOM:
        return f"in less than {percent(_SELDOM)} of cases"
    return f"in {percent(rough(low))} of cases"


def around(low: float, _high: float) -> str:
    """The hour of the day around which most happens; both ends of the range are that hour.

    >>> around(9.0, 9.0)
    'mostly around 09h UTC'
    """
    return f"mostly around {int(low):02d}h UTC"


Range = Callable[[float, float], str]
"""Puts a usual range into words."""


class Shown(NamedTuple):
    """How to put a feature's value, and its usual range, into words."""

    value: Callable[[float], str]
    usual: Range


FACT: Final = Shown(yes_no, seen_in)
"""How facts are shown."""

HOURS: Final = Shown(hour_of_week, around)
"""How hours are shown."""


class Group(NamedTuple):
    """Features that measure one thing; ``name`` is empty for the feature's own name."""

    name: str = ""
    weight: float = 1.0
    scored: bool = True


OWN: Final = Group()
"""A feature that stands alone, at full weight."""

UNSCORED: Final = Group(scored=False)
"""Features that only rules read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One declared feature. ``scored`` is false for values that only rules read."""

    index: int
    name: str
    unit: str
    reads: str
    null_when: str
    group: str
    weight: float
    scored: bool
    show: Callable[[float], str]
    show_usual: Range


DECLARED: Final[list[Feature]] = []
"""All features in the order of their declaration. Read it through ``rules.features.catalogue``."""


def declare(
    name: str,
    *,
    unit: str,
    reads: str,
    null_when: str,
    group: Group = OWN,
    show: Callable[[float], str] | Shown = plain,
) -> int:
    """Declare a feature and return its index in every vector of values. ``show`` alone shows both ends of a range."""
    if name not in INDEX:
        raise ValueError(f"feature {name} has no place in rules/features/names.py")
    if any(feature.name == name for feature in DECLARED):
        raise ValueError(f"feature {name} is declared twice")
    shown = show if isinstance(show, Shown) else Shown(show, between(show))
    feature = Feature(
        index=INDEX[name],
        name=name,
        unit=unit,
        reads=reads,
        null_when=null_when,
        group=group.name or name,
        weight=group.weight,
        scored=group.scored,
        show=shown.value,
        show_usual=shown.usual,
    )
    DECLARED.append(feature)
    return feature.index
