"""How rare facts are: their chances are noted where they are measured, and all surprisals are drawn at once.

Rules enforced here:
- A chance is noted in a place of its own. A fact that is as usual has none noted, and no surprisal.
- What is drawn is -log10 of the chance, to the last bit as ``statistics.rate_surprisal`` gives it: a fact's surprisal is
  that, from 0 to ``CAP``. Eight logarithms take hardly longer than one, and no guess whether one is needed is wrong.
- A day of the week counts only together with its hour, so that a first Sunday shift alone is nothing.
"""

from math import nan
from typing import Final

from rules.arithmetic import log10_of_normal
from rules.baseline.statistics import CAP, likely
from rules.compiled import compiled
from rules.features.frame import N_ANY_HABIT, N_CHANCES, N_OWN_HABIT, N_RARITIES, Frame
from rules.features.names import INDEX

_FACTS: Final = (
    INDEX["new_country"],
    INDEX["new_network"],
    INDEX["new_device"],
    INDEX["asset_new"],
    INDEX["chain_new"],
    INDEX["destination_new"],
    INDEX["travel_speed_kmh"],
    INDEX["session_moved"],
)
NEW_COUNTRY, NEW_NETWORK, NEW_DEVICE, NEW_ASSET, NEW_CHAIN, NEW_DESTINATION, FAST_TRAVEL, SESSION_MOVE = range(8)
"""Places of facts: those of ``_FACTS``, in their order."""
ACCOUNT_HOUR: Final = 8
ACTOR_HOUR: Final = 10
"""Places of an hour's chance against an even spread; of its day's the place after it."""
OWN_HABIT: Final = 12
ANY_HABIT: Final = 13
PLACES: Final = 16
_ACCOUNT_HOUR: Final = INDEX["hour_of_week"]
_ACTOR_HOUR: Final = INDEX["actor_hour"]
_LEAST: Final = 1e-300
_HALF: Final = 0.5


@compiled
def clear(f: Frame) -> None:
    """Note nothing."""
    f.now[N_CHANCES : N_CHANCES + PLACES] = 1.0
    f.now[N_CHANCES + OWN_HABIT] = f.now[N_CHANCES + ANY_HABIT] = 0.0


@compiled
def note(f: Frame, place: int, chance: float) -> None:
    """Note a chance in (0, 1], or how much rarer something is than an even spread."""
    f.now[N_CHANCES + place] = chance


@compiled
def note_rate(f: Frame, place: int, count: float, rate: float, prior: float) -> None:
    """Note the chance of something seen at ``rate`` over ``count`` events, with ``prior`` as two more events' rate."""
    f.now[N_CHANCES + place] = likely(count, rate, prior)


@compiled
def draw(f: Frame) -> None:
    """Set the surprisals of facts and hours, and what habits allow; NaN where there is no habit."""
    now = f.now
    for place in range(PLACES):
        now[N_RARITIES + place] = -log10_of_normal(max(_LEAST, now[N_CHANCES + place]))
    for place in range(len(_FACTS)):
        f.surprise[_FACTS[place]] = min(CAP, max(0.0, now[N_RARITIES + place]))
    f.surprise[_ACCOUNT_HOUR] = _of_hour(f, ACCOUNT_HOUR)
    f.surprise[_ACTOR_HOUR] = _of_hour(f, ACTOR_HOUR)
    now[N_OWN_HABIT] = max(0.0, now[N_RARITIES + OWN_HABIT]) if now[N_CHANCES + OWN_HABIT] > 0.0 else nan
    now[N_ANY_HABIT] = max(0.0, now[N_RARITIES + ANY_HABIT]) if now[N_CHANCES + ANY_HABIT] > 0.0 else nan


@compiled
def _of_hour(f: Frame, place: int) -> float:
    hour, day = max(0.0, f.now[N_RARITIES + place]), max(0.0, f.now[N_RARITIES + place + 1])
    return float(hour + _HALF * day if hour > 0.0 else 0.0)
