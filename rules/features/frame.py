"""Everything that is known while one observation is measured.

Rules: the arrays are made once and used for every event; the kernel binds the records of the event's entities to them.
Measuring writes only to ``now``, ``values``, ``surprise``, ``low``, ``high`` and ``measured``; ``remember`` and
``learn`` write to records and read from the frame what was measured before. A record that does not exist yet is a blank
one that nobody may write to.
"""

from math import nan
from typing import Final, NamedTuple

import numpy as np

from rules.arrays import F8
from rules.baseline.layout import WIDTH, Kind
from rules.event import EVENT_WIDTH
from rules.features.names import COUNT, TAILED

US: Final = 1_000_000.0
HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
HOUR_US: Final = HOUR_S * US
DAY_US: Final = DAY_S * US

N_NOW_US: Final = 0
"""The account's (or actor's) own monotone event time."""
N_HOUR: Final = 1
N_DAY: Final = 2
"""Hour of the day and day of the week of that time, UTC, Monday 0."""
N_USD: Final = 3
"""The amount as priced, NaN when it cannot be."""
N_SIZE: Final = 4
"""log10 of that amount, at least 0.01 USD."""
N_BALANCE_USD: Final = 5
N_BALANCE_TOLD_US: Final = 6
"""What the account held before, NaN when unknown; when that was told, NaN when it came with this observation."""
N_TRUSTED: Final = 7
"""1 when the platform vouches for the destination."""
N_WEIGHT: Final = 8
"""What the score is multiplied by: less than 1 for trusted destinations."""
N_LATE: Final = 9
"""1 when an observation is learned after people cleared it."""
N_MEASURED: Final = 10
"""How many statistics are noted for learning."""
N_GROUP: Final = 11
"""Fingerprint of the peer group that is used: told with the observation, or the account's own."""
N_KNOWN: Final = 12
"""1 when the entity that the score is about was learned often enough."""
N_RATE: Final = 13
"""The weight with which this event is learned."""
N_CLIP: Final = 33
"""How many deviations from what is usual a size is learned at most; infinite while the account tells little."""
N_SCORED: Final = 14
"""1 when the activity is of a family that is scored."""
N_PARTS: Final = 15
N_LEFT: Final = 16
"""What is left of each velocity window at this time, six words; then of what was paid to the destination."""
N_VALUE_LEFT: Final = 22
N_OWN_Z: Final = 24
"""The amount against the account's shrunk mean, in deviations; NaN when its size is no evidence."""
N_LOG2_USD: Final = 25
"""log2 of the amount; NaN likewise."""
N_DRIFT_Z: Final = 26
"""The account's fast mean against its slow one, in standard errors; NaN when there is none."""
N_CLIPPED_USD: Final = 27
"""The amount, clipped to what is usual for the account: what its model learns."""
N_MEAN_USD: Final = 28
N_RELATIVE: Final = 29
N_INFLATION: Final = 30
"""The account's shrunk mean, its relative deviation squared, and what an uncertain mean adds to that."""
N_MODEL_LEFT: Final = 31
"""What is left of the weight of the account's model at this time."""
N_APART: Final = 32
"""How far the account's own spread is from the common one, as a share of it; NaN while the account tells little."""
N_LOG10_USERS: Final = 34
"""log10 of how many users the network has."""
N_YOUNG_LEFT: Final = 35
"""What is left at this time of the weight of what is too young to be a habit."""
N_SPELLS: Final = 36
"""The chances that the account is in a spell of each kind at this time, three words."""
N_AMONG: Final = 39
"""log2 of the amount as it stands among everybody's; of an account with a peer group, as it does among its group's."""
N_SLOTS: Final = 40
"""The slots of the event's records by pool, seven words; -1 for what does not exist yet."""
N_RECENT: Final = 48
"""What is left at this time of the highest recent score of the account, the actor and the device, three words."""
N_OWN_HABIT: Final = 54
N_ANY_HABIT: Final = 55
"""The most that the size may be surprising for the account, and anywhere, because the account often paid that much; NaN
where it did not."""
N_RAW_EVIDENCE: Final = 56
N_ANY_EVIDENCE: Final = 57
N_ODD: Final = 58
N_ANY_ODD: Final = 59
N_LIKELIHOOD: Final = 60
N_PRIOR: Final = 61
"""Of the fusion: evidence of the own size and of the size for everybody, the chances that either is odd, the likelihood
ratio of the own size, and the chance that the payment is odd before its size is looked at."""
N_FAN_OUT: Final = 62
"""log10 of one more than the account's new destinations within an hour."""
N_BY_GROUP: Final = 63
"""Usual ranges that are the peer group's, as bits of ``features.peers``."""
N_SUMS: Final = 64
"""From here on the evidence of each group of features in decades, by number of group."""
N_LISTED: Final = 112
"""From here on the features that have a part of the score, ``now[N_PARTS]`` of them."""
N_MODEL_FADES: Final = 184
N_YOUNG_FADES: Final = 185
N_SPELLS_FADE: Final = 186
N_RECENT_FADES: Final = 187
"""What is left at this time of the account's model of sizes, of young habits beyond that, of a long spell, and of the
highest recent scores of the account, the actor and the device."""
N_CHANCES: Final = 192
N_RARITIES: Final = 208
"""Chances of facts and -log10 of them, sixteen each, in places of ``features.rarity``."""
NOW_WIDTH: Final = 224

R_RAW: Final = 0
R_P: Final = 1
R_SCORE: Final = 2
R_TAIL: Final = 3
R_CALIBRATED: Final = 4
R_HISTORY: Final = 5
R_LEVEL: Final = 6
"""The p-value's own decision: 0 allow, 1 alert, 2 hold."""
R_FREE_RAW: Final = 7
R_FREE_SCORE: Final = 8
R_CLASS: Final = 9
R_OPERATION: Final = 10
R_DECISION: Final = 11
R_CALIBRATION: Final = 12
"""The class whose calibration was used."""
R_JUDGED: Final = 16
"""What a verdict must know: label-free score, its hazard, hazards of five kinds of entity, their five states, decades of
evidence of five classes of groups."""
R_EQUAL: Final = 33
"""The label-free score that is as worrying as the whole hazard."""
R_RANKED: Final = 34
"""What each kind of entity adds to the hazard that ranks."""
RESULT_WIDTH: Final = 40

B_SIZES: Final = 0
B_MEANS: Final = 6
B_VARIANCES: Final = 12
B_ODD: Final = 18
BLOCK_WIDTH: Final = 24
"""What was measured of six windows: their sizes, usual sizes and variances, and how odd each size is."""

MEASURED_MOST: Final = 48
M_WORD: Final = 0
M_VALUE: Final = 1
M_MEAN: Final = 2
M_VARIANCE: Final = 3
M_FEATURE: Final = 4
M_LESS: Final = 5
MEASURED_WIDTH: Final = 6


class Frame(NamedTuple):
    """One observation beside the records of its entities.

    ``event`` is the row (words ``E_*``), ``now`` numbers of this event (``N_*``). ``values``, ``surprise``, ``low``,
    ``high`` and ``parts`` stand by feature index: the value (NaN is "cannot tell"), -log10 of its tail probability (0
    is ordinary), the usual range in the value's own unit (NaN without history), its part of the raw score.
    ``measured`` holds rows of statistics to learn, ``now[N_MEASURED]`` of them: word, value, mean, variance, the feature
    whose size it is, and what was added to that before its logarithm was taken. ``counts`` and ``sums`` are the same of the
    velocity windows (``B_*``). ``evidence`` is what stands for a
    feature in the score where that is not its surprise; NaN elsewhere. ``stands`` is what the population's tail of a
    feature is asked about and counts: one of the two, ``tails.ORDINARY`` where it is ordinary by definition, NaN where
    there is nothing to ask. ``prior`` is what the account is shrunk towards: the population's record, or what
    ``baseline.peers`` makes of it and of the account's peer group; only then has it a fingerprint.
    """

    event: F8
    now: F8
    values: F8
    surprise: F8
    low: F8
    high: F8
    parts: F8
    measured: F8
    counts: F8
    sums: F8
    evidence: F8
    stands: F8
    result: F8
    account: F8
    actor: F8
    destination: F8
    asset: F8
    device: F8
    network: F8
    prior: F8
    population: F8


def new_frame() -> Frame:
    """A frame without any event, its records blank."""
    blank = {kind: np.zeros(width, np.float64) for kind, width in WIDTH.items()}
    return Frame(
        event=np.zeros(EVENT_WIDTH, np.float64),
        now=np.zeros(NOW_WIDTH, np.float64),
        values=np.full(COUNT, nan, np.float64),
        surprise=np.zeros(COUNT, np.float64),
        low=np.full(COUNT, nan, np.float64),
        high=np.full(COUNT, nan, np.float64),
        parts=np.zeros(COUNT, np.float64),
        measured=np.zeros((MEASURED_MOST, MEASURED_WIDTH), np.float64),
        counts=np.zeros(BLOCK_WIDTH, np.float64),
        sums=np.zeros(BLOCK_WIDTH, np.float64),
        evidence=np.full(COUNT, nan, np.float64),
        stands=np.full(TAILED, nan, np.float64),
        result=np.zeros(RESULT_WIDTH, np.float64),
        account=blank[Kind.ACCOUNT],
        actor=blank[Kind.ACTOR],
        destination=blank[Kind.DESTINATION],
        asset=blank[Kind.ASSET],
        device=blank[Kind.DEVICE],
        network=blank[Kind.NETWORK],
        prior=blank[Kind.POPULATION],
        population=blank[Kind.POPULATION],
    )
