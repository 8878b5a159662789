"""An account among its peers: where an amount stands among everybody's, and by whose history something was judged.

Rules enforced here:
- An account with a peer group is held against the sizes of its group: the amount is told as it would stand among
  everybody's, as many spreads from their mean as it is from the group's, so far as the group knows enough
  (``baseline.peers``). Without a group it stands there as it is, to the last bit.
- A group narrower than everybody spreads its members' amounts apart; a wider one never draws them together. One account
  can make its group wide at will, and thefts from the others would look usual.
- A usual range is the group's where the group's word weighs most, more than the account's own history and more than the
  whole; then its text says so. Who judged a number is told of that very number.
"""

from math import sqrt
from typing import Final

from rules.baseline.layout import (
    AMOUNT,
    ASSETS,
    COUNTS,
    FAN_OUTS,
    FINGERPRINT,
    GAP,
    POPULATION_FAN_OUTS,
    SHARE,
    VALUES,
)
from rules.baseline.statistics import PRIOR_STRENGTH
from rules.compiled import compiled
from rules.features.frame import N_AMONG, N_BY_GROUP, N_LOG2_USD, N_SIZE, Frame
from rules.features.names import INDEX, NAMES

_FLOOR: Final = 0.2
_LOG2_10: Final = 3.321928094887362
_OWN: Final = (AMOUNT, SHARE, GAP, COUNTS, VALUES, ASSETS, FAN_OUTS)
_COMMON: Final = (AMOUNT, SHARE, GAP, COUNTS, VALUES, ASSETS, POPULATION_FAN_OUTS)
"""Statistics of an account, and of its group and the whole in the same order."""
_OF_SIZE: Final = len(_OWN)
_FEATURES: Final = (
    ("amount_usd",),
    ("share_of_balance",),
    ("seconds_since_last",),
    tuple(name for name in NAMES if name.startswith("count_")),
    tuple(name for name in NAMES if name.startswith("value_")),
    ("assets_10m",),
    ("fan_out_1h",),
    ("amount_population",),
)
_BIT_OF: Final = {INDEX[name]: 1 << at for at, names in enumerate(_FEATURES) for name in names}
"""The features whose usual range may be a group's, each with its bit of ``now[N_BY_GROUP]``."""


@compiled
def measure(f: Frame) -> None:
    """Set where the amount stands among everybody's."""
    if f.prior[FINGERPRINT] == 0.0:
        f.now[N_AMONG] = f.now[N_LOG2_USD]
        return
    wide = max(1.0, max(_FLOOR * _FLOOR, f.population[AMOUNT + 2]) / max(_FLOOR * _FLOOR, f.prior[AMOUNT + 2]))
    apart = f.now[N_SIZE] - f.prior[AMOUNT + 1]
    f.now[N_AMONG] = (f.population[AMOUNT + 1] + apart * sqrt(wide)) * _LOG2_10


@compiled
def tell(f: Frame) -> None:
    """Note which usual ranges are the group's."""
    if f.prior[FINGERPRINT] == 0.0:
        return
    found = (1 << _OF_SIZE) if f.prior[AMOUNT] >= PRIOR_STRENGTH else 0
    for at in range(len(_OWN)):
        own, group = f.account[_OWN[at]], f.prior[_COMMON[at]]
        leads = (group >= PRIOR_STRENGTH) & (own * (group + PRIOR_STRENGTH) < PRIOR_STRENGTH * group)
        found |= (1 << at) if leads else 0
    f.now[N_BY_GROUP] = found


def by_group(feature: int, told: float) -> bool:
    """Whether a feature's usual range is its group's, given ``now[N_BY_GROUP]``.

    >>> by_group(INDEX["amount_usd"], 1.0), by_group(INDEX["amount_usd"], 2.0), by_group(INDEX["new_device"], 255.0)
    (True, False, False)
    """
    return bool(int(told) & _BIT_OF.get(feature, 0))
