"""What published lists say of the destination: a fact that intake looked up and told, so that replay needs no list.

It is known or not and has no history, so it is no part of the score: detectors decide by it, from the first day.
"""

from typing import Final

from rules.compiled import compiled
from rules.event import E_LISTED
from rules.features.declared import UNSCORED, Shown, declare
from rules.features.frame import Frame
from rules.observation import LISTINGS


def listed_as(value: float) -> str:
    """What a destination is listed as.

    >>> listed_as(4.0), listed_as(0.0)
    ('sanctioned', 'not listed')
    """
    return LISTINGS[int(value)]


LISTED: Final = declare(
    "destination_listed",
    unit="kind of listing: " + ", ".join(f"{value} {words}" for value, words in enumerate(LISTINGS)),
    reads="the gravest kind as which the imported lists name the destination",
    null_when="no list was imported, or lists cannot name such a destination",
    group=UNSCORED,
    show=Shown(listed_as, lambda low, _high: listed_as(low)),
)


@compiled
def measure(f: Frame) -> None:
    """Tell what was looked up; usual is a destination that nobody lists.

    >>> from rules.trial import trial
    >>> trial("withdrawal.requested", destination_listed=4)["destination_listed"]
    4.0
    """
    told = f.event[E_LISTED]
    if told == told:  # noqa: PLR0124 -- false only for NaN
        f.values[LISTED] = told
        f.low[LISTED] = 0.0
        f.high[LISTED] = 0.0
