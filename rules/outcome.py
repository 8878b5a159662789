"""What the kernel says about one activity, as a row of numbers.

Rules: the row holds everything that is shown of an assessment, so that a back-test may render it elsewhere and later; it
names features by index and nobody by name. Reasons stand in falling order of share, ties by index, and last: of most
activities there are few, and what follows the last is not written, for memory is what a row costs.
"""

from typing import Final, NamedTuple

import numpy as np

from rules.arrays import F8
from rules.event import (
    E_ACCOUNT,
    E_ACTOR,
    E_AT_US,
    E_DESTINATION,
    E_DEVICE,
    E_NETWORK,
)

O_SCORE: Final = 0
O_P_VALUE: Final = 1
O_DECISION: Final = 2
"""0 allow, 1 alert, 2 hold: the stronger of level and detectors."""
O_HISTORY: Final = 3
"""1 when the entity was learned often enough for the score to be its own."""
O_RAW: Final = 4
O_FREE: Final = 5
"""Score without verdicts: what it would be if no reputation spoke."""
O_TAIL: Final = 6
O_CALIBRATED: Final = 7
O_OPERATION: Final = 8
"""0 learned, 1 skipped."""
O_LEVEL: Final = 9
"""What the p-value alone decides."""

O_NOW_US: Final = 10
"""Event time as it counts, in epoch microseconds."""
O_BALANCE_TOLD_US: Final = 11
"""When the balance that a share is of was told; NaN when that was with the activity, or never."""
O_BALANCE_USD: Final = 12
O_BY_GROUP: Final = 13
"""Reasons whose usual range is the peer group's, as bits of ``features.peers``."""

O_JUDGED: Final = 14
O_REASONS: Final = 31
"""Words from ``O_JUDGED`` to here are the kernel's: what a verdict must know of how its activity was scored."""

TOLD_FROM: Final = 1.0
"""Score from which reasons are put into words although nothing was decided: one activity in ten."""
MAX_REASONS: Final = 8
W_FEATURE: Final = 0
"""Index of the feature; -1 ends the reasons."""
W_VALUE: Final = 1
W_LOW: Final = 2
W_HIGH: Final = 3
W_SHARE: Final = 4
REASON_WIDTH: Final = 5
OUT_WIDTH: Final = O_REASONS + MAX_REASONS * REASON_WIDTH

V_KNOWN_US: Final = 0
V_TRUTH: Final = 1
"""1 for a true positive, 0 for a false one."""
V_AT_US: Final = 2
V_ACCOUNT: Final = 3
V_ACTOR: Final = 4
V_DESTINATION: Final = 5
V_DEVICE: Final = 6
V_NETWORK: Final = 7
V_JUDGED: Final = 8
"""The words of ``O_JUDGED``."""
VERDICT_WIDTH: Final = V_JUDGED + O_REASONS - O_JUDGED

_JUDGED_ENTITIES: Final = (E_ACCOUNT, E_ACTOR, E_DESTINATION, E_DEVICE, E_NETWORK)


class Fired(NamedTuple):
    """A detector that fired: row, its position in the running set, and the strength of the decision that counts."""

    row: int
    detector: int
    decision: int


def verdict_rows(events: F8, out: F8, truth: F8, known_at_us: F8) -> F8:
    """Rows of verdicts on these activities, as the kernel learns them."""
    rows = np.empty((len(events), VERDICT_WIDTH), np.float64)
    rows[:, V_KNOWN_US] = known_at_us
    rows[:, V_TRUTH] = truth
    rows[:, V_AT_US] = events[:, E_AT_US]
    rows[:, V_ACCOUNT:V_JUDGED] = events[:, _JUDGED_ENTITIES]
    rows[:, V_JUDGED:] = out[:, O_JUDGED:O_REASONS]
    return rows
