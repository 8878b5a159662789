"""What people's verdicts add to a score, and what each feature and entity has of it in the end.

Rules: without any verdict the score stays as it is, bit for bit. With verdicts the whole hazard is told as the label-free
score that is as worrying, calibrated once more, and never higher than that score: the chance of a hazard so large is at
least that of the label-free score. Shares sum to one over what speaks against the event.
"""

from typing import Final

from rules.arithmetic import exp10, log10
from rules.arrays import F8
from rules.baseline import reputation
from rules.baseline.layout import (
    ACTOR_REPUTATION,
    DESTINATION_REPUTATION,
    DEVICE_REPUTATION,
    NETWORK_REPUTATION,
    REPUTATION,
)
from rules.baseline.reputation import NO_CELL
from rules.baseline.shared import C_VERDICTS, Shared
from rules.baseline.tails import resolved, surprisal
from rules.compiled import compiled, entry
from rules.event import E_ACCOUNT, E_ACTOR, E_DESTINATION, E_DEVICE, E_NETWORK
from rules.features.catalogue import REPUTATIONS
from rules.features.frame import (
    N_LISTED,
    N_NOW_US,
    N_PARTS,
    R_CALIBRATION,
    R_EQUAL,
    R_FREE_SCORE,
    R_P,
    R_RANKED,
    R_SCORE,
    R_TAIL,
    Frame,
)
from rules.fusion import J_CELLS, J_FREE, J_HAZARDS, J_SCORE, list_part

KINDS: Final = 5
PROPORTIONAL: Final = 2
"""Accounts and actors, the first two kinds, make odds larger or smaller; the others are causes of their own."""
_LEAST_P: Final = 1e-300
_BY_DESTINATION, _BY_DEVICE, _BY_NETWORK, _BY_ACTOR, _BY_ACCOUNT = REPUTATIONS


@compiled
def judge(f: Frame, s: Shared) -> None:
    """Let verdicts speak: set the score, and what each feature and entity has of it. Changes no record."""
    result = f.result
    free = result[R_FREE_SCORE]
    alone = reputation.free_hazard(s.hazard, free)
    result[J_SCORE] = free
    result[J_FREE] = alone
    for kind in range(KINDS):
        result[J_HAZARDS + kind] = 0.0
        result[J_CELLS + kind] = NO_CELL
        result[R_RANKED + kind] = 0.0
    result[R_EQUAL] = free
    if s.clock[C_VERDICTS] > 0.0:
        _speak(f, s, alone)
        final = s.final[int(result[R_CALIBRATION])]
        told = surprisal(final, result[R_EQUAL])
        if told < result[R_EQUAL]:
            result[R_TAIL] = 0.0 if resolved(final, result[R_EQUAL]) else 1.0
        free = min(told, result[R_EQUAL])
        result[R_P] = max(_LEAST_P, min(1.0, exp10(-free)))
        free = max(0.0, -log10(result[R_P]))
    result[R_SCORE] = free
    _share(f, alone)


@compiled
def _speak(f: Frame, s: Shared, alone: float) -> None:
    event, result = f.event, f.result
    grown = alone
    if event[E_ACCOUNT] != 0.0:
        grown = _proportional(f, s, 0, f.account, REPUTATION, grown)
    if event[E_ACTOR] != 0.0:
        grown = _proportional(f, s, 1, f.actor, ACTOR_REPUTATION, grown)
    additive = 0.0
    if event[E_DESTINATION] != 0.0:
        additive += _cause(f, s, 2, f.destination, DESTINATION_REPUTATION)
    if event[E_DEVICE] != 0.0:
        additive += _cause(f, s, 3, f.device, DEVICE_REPUTATION)
    if event[E_NETWORK] != 0.0:
        additive += _cause(f, s, 4, f.network, NETWORK_REPUTATION)
    if additive == 0.0 and grown == alone:
        return
    if additive > 0.0:
        kept = reputation.guarded(s.hazard, additive)
        for kind in range(PROPORTIONAL, KINDS):
            result[R_RANKED + kind] *= kept
        additive *= kept
    result[R_EQUAL] = reputation.equal_score(s.hazard, grown + additive)


@compiled
def _proportional(f: Frame, s: Shared, kind: int, record: F8, at: int, before: float) -> float:
    cell = reputation.cell_of(record, at, f.now[N_NOW_US])
    f.result[J_CELLS + kind] = cell
    times = reputation.ratio(s.taught[kind], cell) * reputation.own_ratio(record, at)
    if times == 1.0:
        return before
    after = reputation.odds_times(before, times)
    f.result[J_HAZARDS + kind] = after - before
    f.result[R_RANKED + kind] = after - before
    _show(f, by(kind), reputation.probability_of(after), reputation.probability_of(before))
    return after


@compiled
def _cause(f: Frame, s: Shared, kind: int, record: F8, at: int) -> float:
    cell = reputation.cell_of(record, at, f.now[N_NOW_US])
    f.result[J_CELLS + kind] = cell
    if cell < 0.0:
        return 0.0
    chance = reputation.cause(s.taught[kind], cell)
    f.result[J_HAZARDS + kind] = reputation.hazard_of(chance)
    f.result[R_RANKED + kind] = reputation.sharpened(chance)
    _show(f, by(kind), chance, 0.0)
    return float(f.result[R_RANKED + kind])


@compiled
def _show(f: Frame, feature: int, chance: float, usual: float) -> None:
    """Set a reputation's value; usual is what the chance would be had nobody judged the entity."""
    f.values[feature] = chance
    f.low[feature] = f.high[feature] = usual


@entry
def by(kind: int) -> int:
    """The feature that shows the reputation of a kind of entity."""
    if kind == 0:
        return _BY_ACCOUNT
    if kind == 1:
        return _BY_ACTOR
    if kind == 2:  # noqa: PLR2004 -- destination
        return _BY_DESTINATION
    return _BY_DEVICE if kind == 3 else _BY_NETWORK  # noqa: PLR2004 -- device, network


@compiled
def _share(f: Frame, alone: float) -> None:
    """Turn what each feature adds into its share of the whole."""
    result = f.result
    whole = 0.0
    for at in range(int(f.now[N_PARTS])):
        whole += f.parts[int(f.now[N_LISTED + at])]
    lowered = 0.0
    raised = 0.0
    for kind in range(KINDS):
        lowered += min(0.0, result[R_RANKED + kind])
        raised += max(0.0, result[R_RANKED + kind])
    free = max(0.0, alone + lowered)
    if free + raised <= 0.0:
        return
    # Without reputations the score need not be waited for: all of it is the features'.
    told = free / (free + raised) if raised > 0.0 else 1.0
    scale = told / whole if whole > 0.0 else 0.0
    for at in range(int(f.now[N_PARTS])):
        f.parts[int(f.now[N_LISTED + at])] *= scale
    for kind in range(KINDS):
        if result[R_RANKED + kind] > 0.0:
            list_part(f, by(kind), result[R_RANKED + kind] / (free + raised))
