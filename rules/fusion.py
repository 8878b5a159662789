"""From measured features to one score: evidence, contagion, and the calibration of their sum.

Rules enforced here:
- Every quantity goes through the population's own tail first, so that each is honestly calibrated whatever its unit.
- A surprisal s becomes evidence by the power calibrator LR = k * 10**((1 - k) s) (Vovk and Wang 2021, "E-values"): its
  mean under "usual" is one, so noise gains nothing on average. What more than one in ten reach is no evidence, which is
  told from the tail's threshold without any logarithm. Inside a group evidence is averaged, which holds however
  its features depend; groups multiply. A feature's weight is the prior share of attacks that show in it.
- Own size has a memory: three forward filters (a two-state hidden Markov model each, Rabiner 1989) of how likely the
  account is in a short, middle or long spell of oddness raise what the next moderately odd payment is worth. An
  account's drift and recent surprise elsewhere raise the same prior.
- There are three honest views: the own path (size, contagion and all groups), the size against everybody's as it stands
  in its peer group (``features.peers``), the share of the balance. Each is calibrated by itself, and the largest is the
  score; the sum is calibrated within its class.
- What each feature adds is kept: the explanation is the score. What verdicts add is in ``rules.opinion``.
"""

from collections.abc import Iterable
from math import nan
from typing import Final

import numpy as np

from rules.arithmetic import exp2, exp10, log2, log10
from rules.baseline.layout import OUT_US, SPELLS
from rules.baseline.reputation import CLASSES, WEIGHT_AT
from rules.baseline.shared import (
    ANY_EVIDENCE,
    ANY_SIZE,
    FIRST_FEATURE,
    OWN_EVIDENCE,
    OWN_SIZE,
    S_MIN_SCORES,
    Shared,
)
from rules.baseline.tails import (
    H_NOTABLE,
    H_ORDINARY,
    H_SCALE,
    ORDINARY,
    T_SEEN,
    probability,
    resolved,
    share_above,
    surprisal,
)
from rules.compiled import compiled, entry, lowest
from rules.event import E_FAMILY, MONEY
from rules.features.catalogue import GROUP_NAMES, GROUPS, WEIGHTS
from rules.features.frame import (
    N_AMONG,
    N_ANY_EVIDENCE,
    N_ANY_HABIT,
    N_ANY_ODD,
    N_KNOWN,
    N_LIKELIHOOD,
    N_LISTED,
    N_ODD,
    N_OWN_HABIT,
    N_OWN_Z,
    N_PARTS,
    N_PRIOR,
    N_RAW_EVIDENCE,
    N_SPELLS,
    N_SPELLS_FADE,
    N_SUMS,
    N_USD,
    N_WEIGHT,
    R_CALIBRATED,
    R_CALIBRATION,
    R_CLASS,
    R_FREE_RAW,
    R_FREE_SCORE,
    R_JUDGED,
    R_P,
    R_RAW,
    R_TAIL,
    Frame,
)
from rules.features.names import INDEX, TAILED

SIZE_KAPPA: Final = 0.1
_LOG_SIZE_KAPPA: Final = -1.0
_KAPPA: Final = 0.05
_LOG2_KAPPA: Final = -4.321928094887363
_MOST_SIZE: Final = 8.0
_MOST_OTHER: Final = 1e6
_LEAST_RARE: Final = 0.1
"""Above one in ten an e-value is under a half and is taken as 0: still valid, and noise keeps no power."""
SPELL: Final = 0.01
"""Prior chance that an account is in a spell."""
TOUCHED: Final = 0.3
"""Share of a spell's payments that are odd."""
_BASE: Final = -2.5215739035919933
"""log10 odds that a payment is odd, before anything is seen: of TOUCHED * SPELL."""
_AMOUNT: Final = INDEX["amount_usd"]
_POPULATION: Final = INDEX["amount_population"]
_SHARE: Final = INDEX["share_of_balance"]
_DRIFT: Final = INDEX["amount_drift"]
_RECENT: Final = INDEX["recent_surprise"]
_UNPRICED: Final = INDEX["unpriced"]
_NEUTRAL: Final = 1.0
"""Decades that lie between no evidence and the evidence of an ordinary size."""
_GROUPS: Final = len(GROUP_NAMES)
_OF_SIZE: Final = (_AMOUNT, _POPULATION, _SHARE, _DRIFT, _RECENT)
"""What a priced payment's own path weighs, so that no group does."""
_COUNTED: Final = np.array([GROUPS[at] >= 0 and at not in (_AMOUNT, _POPULATION) for at in range(TAILED)])
"""What is counted into a tail of its own."""


def _bits(features: Iterable[int]) -> int:
    return sum(1 << feature for feature in features)


_SIZE_BITS: Final = _bits(_OF_SIZE)
_MEMBERS: Final = np.array(
    [_bits(at for at in range(TAILED) if GROUPS[at] == group and _COUNTED[at]) for group in range(_GROUPS)], np.int64
)
"""The features of each group that are counted, as bits."""
_CLASSES: Final = ({"velocity"}, {"timing"}, {"destination", "dust_ratio"}, {"place", "new_device", "crowd"})
_OTHERS: Final = len(_CLASSES)
CLASS_OF_GROUP: Final = np.array(
    [next((at for at, names in enumerate(_CLASSES) if name in names), _OTHERS) for name in GROUP_NAMES], np.int64
)
"""The class of each group of features, for the weights that verdicts teach."""

J_SCORE: Final = R_JUDGED
J_FREE: Final = R_JUDGED + 1
J_HAZARDS: Final = R_JUDGED + 2
J_CELLS: Final = R_JUDGED + 7
J_CLASSES: Final = R_JUDGED + 12
JUDGED_WORDS: Final = 12 + CLASSES


@entry
def size_evidence(surprise: float) -> float:
    """log10 of the likelihood ratio that the surprisal of a size stands for."""
    return min(_MOST_SIZE, _LOG_SIZE_KAPPA + (1.0 - SIZE_KAPPA) * surprise)


@entry
def likelihood(p: float) -> float:
    """The likelihood ratio that the p-value of any other feature stands for.

    >>> likelihood(0.2), round(likelihood(0.001), 1)
    (0.0, 35.4)
    """
    if p >= _LEAST_RARE:
        return 0.0
    return min(_MOST_OTHER, exp2(_LOG2_KAPPA - (1.0 - _KAPPA) * log2(p)))


@compiled
def tailed(f: Frame, s: Shared, feature: int) -> float:
    """The share of everybody's recent values that are as rare as a feature's; 1 for what is no evidence."""
    value, heads = f.stands[feature], s.heads
    if not value >= heads[H_NOTABLE, feature]:
        return 1.0
    ordinary, scale = heads[H_ORDINARY, feature], heads[H_SCALE, feature]
    return share_above(s.tails[FIRST_FEATURE + feature], value, ordinary, scale)


@compiled
def _stand(f: Frame, s: Shared) -> tuple[int, int]:
    """Set what stands for each feature; the features that tell something and those that are notable, as bits.

    No branch, so that the processor takes eight features at once.
    """
    told = 0
    notable = 0
    for feature in range(TAILED):
        value, surprise = f.evidence[feature], f.surprise[feature]
        if value != value:  # noqa: PLR0124 -- false only for NaN
            value = surprise if surprise != 0.0 else ORDINARY
        if f.values[feature] != f.values[feature] or not _COUNTED[feature]:
            value = nan
        f.stands[feature] = value
        told |= (1 << feature) if value == value else 0  # noqa: PLR0124 -- as above
        notable |= (1 << feature) if value >= s.heads[H_NOTABLE, feature] else 0
    return told, notable


@compiled
def list_part(f: Frame, feature: int, part: float) -> None:
    """Note a feature's part of the score; a feature is listed once."""
    at = int(f.now[N_PARTS])
    f.now[N_LISTED + at] = feature
    f.now[N_PARTS] = at + 1.0
    f.parts[feature] = part


@compiled
def _spells(f: Frame) -> float:
    """Set the chances that the account is in a spell of each kind at this time, and give their sum.

    Before its first payment they are the prior.
    """
    third, account, now = SPELL / 3.0, f.account, f.now
    last = account[OUT_US]
    if last <= 0.0:
        now[N_SPELLS] = now[N_SPELLS + 1] = now[N_SPELLS + 2] = third
    else:
        # Half-lives are four times one another's, so that one power gives all three.
        long = now[N_SPELLS_FADE]
        middle = long * long * (long * long)
        short = middle * middle * (middle * middle)
        now[N_SPELLS] = third + (account[SPELLS] - third) * short
        now[N_SPELLS + 1] = third + (account[SPELLS + 1] - third) * middle
        now[N_SPELLS + 2] = third + (account[SPELLS + 2] - third) * long
    return float(now[N_SPELLS] + now[N_SPELLS + 1] + now[N_SPELLS + 2])


@compiled
def _context(f: Frame, s: Shared) -> float:
    """The evidence of drift and recent surprise elsewhere for the account being in a spell."""
    raised = 0.0
    for feature in (_DRIFT, _RECENT):
        if f.values[feature] == f.values[feature]:
            f.parts[feature] = WEIGHTS[feature] * likelihood(tailed(f, s, feature))
            raised += f.parts[feature] - WEIGHTS[feature]
    return max(0.0, raised)


@compiled
def _prior(f: Frame, s: Shared) -> float:
    """The log-odds that a payment of this account is odd now, before its size is looked at; its parts go to ``parts``."""
    chance = _spells(f)
    raised = _context(f, s)
    prior = TOUCHED * (1.0 - (1.0 - chance) / (1.0 + SPELL * raised))
    odds = log10(prior / (1.0 - prior))
    carried = max(0.0, odds - _BASE)
    drifted = f.parts[_DRIFT] / (f.parts[_DRIFT] + f.parts[_RECENT] + 1.0)
    list_part(f, _DRIFT, carried * drifted)
    list_part(f, _RECENT, carried - carried * drifted)
    f.now[N_PRIOR] = prior
    return odds


@compiled
def _own_size(f: Frame, s: Shared) -> float:
    """The log-odds that the payment is odd for its account, without the groups; the path's parts go to ``parts``."""
    now = f.now
    own = surprisal(s.tails[OWN_SIZE], now[N_OWN_Z])
    own = min(own, now[N_OWN_HABIT])
    odds = _prior(f, s)
    prior = now[N_PRIOR]
    found = size_evidence(own)
    now[N_LIKELIHOOD] = exp10(found)
    now[N_ODD] = prior * now[N_LIKELIHOOD] / (prior * now[N_LIKELIHOOD] + 1.0 - prior)
    list_part(f, _AMOUNT, (1.0 - SIZE_KAPPA) * own)
    return odds + found


@compiled
def _unknown_size(f: Frame, s: Shared, groups: float) -> float:
    """The own path of a payment that nobody can price: "cannot tell" is evidence neither way, which is not "small"."""
    odds = _prior(f, s)
    if f.parts[_UNPRICED] > 0.0:
        f.parts[_UNPRICED] += _NEUTRAL
    else:
        list_part(f, _UNPRICED, _NEUTRAL)
    return surprisal(s.tails[OWN_EVIDENCE], odds + groups)


@compiled
def _any_size(f: Frame, s: Shared) -> float:
    """The calibrated surprisal of the size against everybody's."""
    now = f.now
    common = surprisal(s.tails[ANY_SIZE], now[N_AMONG])
    f.surprise[_POPULATION] = common
    common = min(common, now[N_ANY_HABIT])
    now[N_ANY_EVIDENCE] = common
    odds = SPELL * TOUCHED * exp10(size_evidence(common))
    now[N_ANY_ODD] = odds / (1.0 + odds)
    return surprisal(s.tails[ANY_EVIDENCE], common)


@compiled
def _list_notable(f: Frame, s: Shared, notable: int) -> int:
    """List the parts of what is notable, before they are shared out; the groups that have one, as bits."""
    groups = 0
    while notable != 0:
        feature = lowest(notable)
        notable &= notable - 1
        part = WEIGHTS[feature] * likelihood(tailed(f, s, feature))
        if part > 0.0:
            list_part(f, feature, part)
            groups |= 1 << GROUPS[feature]
    return groups


@compiled
def _add_up(f: Frame, s: Shared, group: int, told: int) -> float:
    """The evidence of a group in decades, of the features that tell something; each one's part becomes its share."""
    evidence = 0.0
    whole = 0.0
    members = told & _MEMBERS[group]
    while members != 0:
        feature = lowest(members)
        members &= members - 1
        evidence += f.parts[feature] - WEIGHTS[feature]
        whole += f.parts[feature]
    decades = 0.0
    if evidence > 0.0:
        decades = log10(1.0 + evidence)
        f.result[J_CLASSES + CLASS_OF_GROUP[group]] += decades
        decades *= s.hazard[WEIGHT_AT + CLASS_OF_GROUP[group]]
    f.now[N_SUMS + group] = decades
    scale = decades / whole
    members = told & _MEMBERS[group]
    while members != 0:
        f.parts[lowest(members)] *= scale
        members &= members - 1
    return decades


@compiled
def _groups(f: Frame, s: Shared, told: int, notable: int) -> float:
    """The evidence of every other feature in decades, by groups; what each adds goes to ``parts``.

    A group without anything notable has none, so that most events look at few.
    """
    groups = _list_notable(f, s, notable & ~_SIZE_BITS)
    groups |= _list_notable(f, s, notable & _SIZE_BITS)
    added = 0.0
    while groups != 0:
        added += _add_up(f, s, lowest(groups), told)
        groups &= groups - 1
    return added


@compiled
def _only(f: Frame, feature: int) -> None:
    """The score is one feature's alone."""
    for at in range(int(f.now[N_PARTS])):
        f.parts[int(f.now[N_LISTED + at])] = 0.0
    f.now[N_PARTS] = 0.0
    list_part(f, feature, 1.0)
    for kind in range(CLASSES):
        f.result[J_CLASSES + kind] = 0.0


@compiled
def weigh(f: Frame, s: Shared) -> float:
    """The raw score; what it is made of goes to ``parts``."""
    sized = f.now[N_OWN_Z] == f.now[N_OWN_Z]
    unknown = f.event[E_FAMILY] == MONEY and f.now[N_USD] != f.now[N_USD]
    told, notable = _stand(f, s)
    # Neither view of the size waits for the other: side by side they take the time of one.
    by_all = _any_size(f, s) if sized else 0.0
    path = _own_size(f, s) if sized else 0.0
    path += _groups(f, s, told, notable & ~_SIZE_BITS if sized or unknown else notable)
    if unknown:
        return _unknown_size(f, s, path)
    if not sized:
        return path
    f.now[N_RAW_EVIDENCE] = path
    by_own = surprisal(s.tails[OWN_EVIDENCE], path)
    rare = tailed(f, s, _SHARE)
    by_share = -log10(rare) if rare < 1.0 else 0.0
    best = max(by_own, by_all, by_share)
    if by_own < best:
        _only(f, _POPULATION if by_all == best else _SHARE)
    return best


@compiled
def fuse(f: Frame, s: Shared) -> None:
    """Weigh everything and calibrate it. Changes no record."""
    result = f.result
    raw = f.now[N_WEIGHT] * weigh(f, s)
    result[R_RAW] = raw
    result[R_FREE_RAW] = raw
    family = int(f.event[E_FAMILY])
    own = 2 * family + (0 if f.now[N_KNOWN] == 1.0 else 1)
    used = own if s.free[own, T_SEEN] >= s.settings[S_MIN_SCORES] else 2 * family
    result[R_CLASS] = own
    result[R_CALIBRATION] = used
    result[R_CALIBRATED] = 1.0 if s.free[used, T_SEEN] >= s.settings[S_MIN_SCORES] else 0.0
    result[R_P] = probability(s.free[used], raw)
    result[R_FREE_SCORE] = max(0.0, -log10(result[R_P]))
    result[R_TAIL] = 0.0 if resolved(s.free[used], raw) else 1.0
