"""What verdicts say about an entity, and what it is worth for the next payment.

Rules enforced here:
- An entity's reputation is the age of its present bad episode, its streak of good verdicts since the last bad one and
  the number of bad ones that nothing else explains; what such a state means is learned from all entities of its kind.
- Causes add as hazards, -ln(1 - p) (noisy-OR, Pearl 1988, section 4.3). Destinations, devices and networks add; accounts
  and actors make the odds of the same oddness larger, or smaller: "this account's alarms proved false".
- Additive parts together stay below the hazard of a label-free score of ``_GUARD``, and half-sure ones give way: a poor
  reputation alone never pushes a label-free alarm out of the top.
- A bad verdict is shared out among what can explain it (E-step of the noisy-OR, Dempster, Laird and Rubin 1977);
  silence is never good. Verdicts may come in any order, days late, for any choice of events.
- The whole hazard is told as the label-free score that is as worrying. Without any verdict that is the label-free score.
"""

from typing import Final

from rules.arithmetic import exp, exp2, exp10, log, log2
from rules.arrays import F8
from rules.baseline.shared import BADS, COARSE, COARSE_AT, FINE, FINE_AT, SCORE_BINS
from rules.compiled import entry

BEGAN_US: Final = 0
LAST_BAD_US: Final = 1
GOODS: Final = 2
BAD_COUNT: Final = 3
BLAMED: Final = 4
EXPECTED: Final = 5
OBSERVED: Final = 6
"""Words of an entity: first and latest bad of the episode, good verdicts since, bads, of these unexplained by others;
bad verdicts that the label-free score expected of it, and those that it explains."""

NO_CELL: Final = -1.0
CLASSES: Final = 5
"""Classes of feature groups whose weight verdicts teach: velocity, timing, destination, place, others."""
WEIGHT_AT: Final = 3 * SCORE_BINS
"""Where the weights of classes stand in the hazard section, then what they are worth."""

_HOUR_US: Final = 3600e6
_DAY_US: Final = 86_400e6
_LN2: Final = 0.6931471805599453
_GUARD: Final = 4.0
_BINS_A_DECADE: Final = 8.0
_MEMORY: Final = 2000.0
_STRENGTH: Final = 2.0
_FINE_STRENGTH: Final = 4.0
_FIRST_P: Final = 0.2
"""P(bad) of a destination with a bad verdict before the population taught anything."""
_UNKNOWN_AGE: Final = 0.25
"""An age that was never judged is worth this share of its parent: unknown is not bad."""
_ENDS_EPISODE: Final = 2.0
_MOST_P: Final = 0.9999
_LEAST_RATIO: Final = 0.1
_MOST_RATIO: Final = 20.0
_LEAST_OWN: Final = 0.5
_MOST_EXPECTED: Final = 20.0
_SHARPNESS: Final = 0.2
_FREE_ODDS: Final = 5e-4
"""Prior odds of a bad event at a label-free p of 1; they grow as 1/p."""
_TILT: Final = 0.02
_WEIGHT_STRENGTH: Final = 5.0
_LEAST_WEIGHT: Final = 0.1
_MOST_WEIGHT: Final = 2.0
_A_DECADE: Final = 0.43


@entry
def hazard_of(p: float) -> float:
    """-ln(1 - p), bounded."""
    return -log(1.0 - min(p, _MOST_P))


@entry
def probability_of(hazard: float) -> float:
    """1 - exp(-hazard)."""
    return 1.0 - exp(-hazard)


@entry
def odds_times(hazard: float, times: float) -> float:
    """The hazard whose odds are ``times`` those of a hazard."""
    if hazard > 30.0:  # noqa: PLR2004 -- exp(30) counts on 1 no more
        return max(hazard + log(times), 0.0)
    return log(1.0 + times * (exp(hazard) - 1.0))


@entry
def _age_bin(age_us: float, an_octave: float, bins: int) -> int:
    if age_us <= _HOUR_US:
        return 0
    return min(1 + int(log2(age_us / _HOUR_US) * an_octave), bins - 1)


@entry
def _streak(goods: float) -> int:
    if goods < 3.0:  # noqa: PLR2004 -- classes 0, 1, 2, 3-5, 6-11, 12 and more
        return int(goods)
    if goods < 6.0:  # noqa: PLR2004 -- as above
        return 3
    return 4 if goods < 12.0 else 5  # noqa: PLR2004 -- as above


@entry
def _bads(blamed: float) -> int:
    whole = int(blamed + 0.5)
    if whole < 4:  # noqa: PLR2004 -- classes 0, 1, 2, 3, 4-7, 8 and more
        return whole
    return 4 if whole < 8 else 5  # noqa: PLR2004 -- as above


@entry
def cell_of(record: F8, at: int, now_us: float) -> float:
    """The state of an entity whose words stand at ``at``, packed into one number; ``NO_CELL`` without a bad verdict."""
    if record[at + BAD_COUNT] <= 0.0:
        return NO_CELL
    fine = _age_bin(now_us - record[at + BEGAN_US], 8.0, FINE)
    return float((_streak(record[at + GOODS]) * BADS + _bads(record[at + BLAMED])) * FINE + fine)


@entry
def _coarse(fine: int) -> int:
    return 0 if fine == 0 else 1 + (fine - 1) // 4


@entry
def cause(taught: F8, cell: float) -> float:
    """P(bad) of a payment because an entity is in this state."""
    packed = int(cell)
    fine, state = packed % FINE, packed // FINE
    one = 2 * state
    two = COARSE_AT + 2 * (state * COARSE + _coarse(fine))
    three = FINE_AT + 2 * packed
    p = (taught[one] + _FIRST_P * _STRENGTH) / (taught[one + 1] + _STRENGTH)
    p = (taught[two] + _UNKNOWN_AGE * p * _STRENGTH) / (taught[two + 1] + _STRENGTH)
    return float((taught[three] + p * _FINE_STRENGTH) / (taught[three + 1] + _FINE_STRENGTH))


@entry
def sharpened(p: float) -> float:
    """What ranks of the hazard of a cause: all of a sure one, less of a half-sure one."""
    return hazard_of(p) * exp2(_SHARPNESS * log2(p))


@entry
def ratio(taught: F8, cell: float) -> float:
    """Bad verdicts of entities in this state over those that the label-free score expected; 1 is no information."""
    if cell < 0.0:
        return 1.0
    packed = int(cell)
    fine, state = packed % FINE, packed // FINE
    one = 2 * state
    two = COARSE_AT + 2 * (state * COARSE + _coarse(fine))
    p = (taught[one] + _STRENGTH) / (taught[one + 1] + _STRENGTH)
    p = (taught[two] + p * _STRENGTH) / (taught[two + 1] + _STRENGTH)
    return float(min(max(p, _LEAST_RATIO), _MOST_RATIO))


@entry
def own_ratio(record: F8, at: int) -> float:
    """What an entity's own false alarms leave of the odds, between a half and all."""
    return float(min(max((record[at + OBSERVED] + 1.0) / (record[at + EXPECTED] + 1.0), _LEAST_OWN), 1.0))


@entry
def free_hazard(hazard: F8, score: float) -> float:
    """The hazard of a label-free score alone; strictly rising."""
    x = score * _BINS_A_DECADE - 0.5
    first = 2 * SCORE_BINS
    if x < 0.0:
        return float(hazard[first] * (1.0 + 0.05 * x))
    if x >= SCORE_BINS - 1:
        return float(hazard[first + SCORE_BINS - 1] + (x - (SCORE_BINS - 1)) / _BINS_A_DECADE)
    at = int(x)
    return float(hazard[first + at] + (hazard[first + at + 1] - hazard[first + at]) * (x - at))


@entry
def equal_score(hazard: F8, whole: float) -> float:
    """The label-free score that is as worrying as a hazard: the inverse of ``free_hazard``."""
    first = 2 * SCORE_BINS
    lowest = hazard[first]
    if whole < lowest:
        x = (whole / lowest - 1.0) / 0.05
        if x < -0.5:  # noqa: PLR2004 -- below a score of 0: only after a ratio below 1; keeps an order
            return float(1e-3 * whole / lowest / (1.0 + whole / lowest))
        return float((x + 0.5) / _BINS_A_DECADE)
    highest = hazard[first + SCORE_BINS - 1]
    if whole >= highest:
        return float((SCORE_BINS - 1 + (whole - highest) * _BINS_A_DECADE + 0.5) / _BINS_A_DECADE)
    low, high = 0, SCORE_BINS - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if hazard[first + middle] <= whole:
            low = middle
        else:
            high = middle
    x = low + (whole - hazard[first + low]) / (hazard[first + low + 1] - hazard[first + low])
    return float((x + 0.5) / _BINS_A_DECADE)


@entry
def guarded(hazard: F8, additive: float) -> float:
    """The factor by which additive hazards shrink so that they stay below the guard."""
    most = free_hazard(hazard, _GUARD)
    return float(most * (1.0 - exp(-additive / most)) / additive)


@entry
def refit(hazard: F8) -> None:
    """Fit P(bad | label-free score) to the verdicts: rising with the score (pool adjacent violators; Ayer et al. 1955)."""
    first = 2 * SCORE_BINS
    for at in range(SCORE_BINS):
        odds = _FREE_ODDS * exp10((at + 0.5) / _BINS_A_DECADE)
        prior = min(odds / (1.0 + odds), 0.95)
        hazard[first + at] = (hazard[2 * at] + 2.0 * prior) / (hazard[2 * at + 1] + 2.0)
        if at > 0 and hazard[first + at - 1] >= hazard[first + at]:
            _pool(hazard, first, at)
    for at in range(SCORE_BINS):
        score = (at + 0.5) / _BINS_A_DECADE
        tilt = 1.0 + _TILT * score + max(score - 2.0, 0.0)
        hazard[first + at] = hazard_of(hazard[first + at]) * tilt + 1e-4 * score + max(score - _GUARD, 0.0)


@entry
def _pool(hazard: F8, first: int, violator: int) -> None:
    """Average the bins up to a violator back to where the mean is not below what comes before."""
    weight = hazard[2 * violator + 1] + 2.0
    total = hazard[first + violator] * weight
    at = violator
    while at > 0 and hazard[first + at - 1] >= total / weight:
        at -= 1
        own = hazard[2 * at + 1] + 2.0
        total += hazard[first + at] * own
        weight += own
    for pooled in range(at, violator + 1):
        hazard[first + pooled] = total / weight


@entry
def bump(table: F8, at: int, bad: float, judged: float) -> None:
    """Count into one cell of a table; beyond some thousands the old fades."""
    if table[at + 1] > _MEMORY:
        table[at] *= 1.0 - 1.0 / _MEMORY
        table[at + 1] *= 1.0 - 1.0 / _MEMORY
    table[at] += bad
    table[at + 1] += judged


@entry
def count_score(hazard: F8, score: float, bad: float) -> None:
    """Count a verdict on a label-free score; ``bad`` is the part of it that the score explains."""
    bump(hazard, 2 * min(int(max(score, 0.0) * _BINS_A_DECADE), SCORE_BINS - 1), bad, 1.0)


@entry
def weigh_class(hazard: F8, kind: int, decades: float, explained: float, chance: float) -> None:
    """Move the weight of a class of groups that gave ``decades`` of evidence towards what the verdict says of it."""
    at, worth = WEIGHT_AT + kind, WEIGHT_AT + CLASSES + kind
    hazard[worth] += chance * (1.0 - chance) * decades * decades
    moved = _A_DECADE * (explained - chance) * decades / (_WEIGHT_STRENGTH + hazard[worth])
    hazard[at] = min(max(hazard[at] + moved, _LEAST_WEIGHT), _MOST_WEIGHT)


@entry
def teach(taught: F8, cell: float, bad: float, judged: float) -> None:
    """Count a verdict into the tables of an entity's kind."""
    packed = int(cell)
    fine, state = packed % FINE, packed // FINE
    bump(taught, 2 * state, bad, judged)
    bump(taught, COARSE_AT + 2 * (state * COARSE + _coarse(fine)), bad, judged)
    bump(taught, FINE_AT + 2 * packed, bad, judged)


@entry
def expect(record: F8, at: int, expected: float, observed: float) -> None:
    """Count what the label-free score expected of an entity, and what came true; the old fades."""
    record[at + EXPECTED] += expected
    record[at + OBSERVED] += observed
    if record[at + EXPECTED] > _MOST_EXPECTED:
        record[at + EXPECTED] *= 0.5
        record[at + OBSERVED] *= 0.5


@entry
def mark_good(record: F8, at: int, when_us: float) -> None:
    """A good verdict on an event after the latest bad one; older ones say nothing."""
    if record[at + BAD_COUNT] > 0.0 and when_us > record[at + LAST_BAD_US]:
        record[at + GOODS] += 1.0


@entry
def mark_bad(record: F8, at: int, when_us: float, blame: float) -> None:
    """A bad verdict; ``blame`` is the probability that nothing else explains it."""
    ended = when_us >= record[at + LAST_BAD_US] and record[at + GOODS] >= _ENDS_EPISODE
    if record[at + BAD_COUNT] <= 0.0 or ended:
        record[at + BEGAN_US] = when_us
        record[at + LAST_BAD_US] = when_us
        record[at + GOODS] = 0.0
        record[at + BAD_COUNT] = 1.0
        record[at + BLAMED] = blame
        return
    began, last = record[at + BEGAN_US], record[at + LAST_BAD_US]
    if (record[at + BLAMED] < 0.5 <= blame) or (when_us < began and began - when_us <= last - began + _DAY_US):  # noqa: PLR2004 -- more likely than not
        record[at + BEGAN_US] = when_us
    if when_us >= last:
        record[at + LAST_BAD_US] = when_us
        record[at + GOODS] = 0.0
    record[at + BAD_COUNT] += 1.0
    record[at + BLAMED] += blame
