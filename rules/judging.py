"""Learn a late verdict: what it says of every entity of its activity, and of the score that the activity got.

Rules: a verdict's row carries what its activity's score was made of, exactly as it was scored, so that nothing has to be
kept until people made up their minds and replay needs nothing else. Entities that were forgotten meanwhile are not made
again. A row without what was judged is learned from its score alone.
"""

from typing import Final

from rules.arrays import F8
from rules.baseline import reputation
from rules.baseline.layout import (
    ACTOR_REPUTATION,
    DESTINATION_REPUTATION,
    DEVICE_REPUTATION,
    NETWORK_REPUTATION,
    REPUTATION,
)
from rules.baseline.reputation import CLASSES, probability_of
from rules.baseline.shared import C_SINCE_REFIT, C_VERDICTS, Shared
from rules.baseline.tables import (
    ACCOUNTS,
    ACTORS,
    DESTINATIONS,
    DEVICES,
    M_WIDTH,
    NETWORKS,
    Places,
    find,
    start_of,
    touch,
)
from rules.binding import MARK_CLOCK, MARK_HAZARD, MARK_TAUGHT
from rules.compiled import compiled
from rules.fusion import J_CELLS, J_CLASSES, J_FREE, J_HAZARDS, J_SCORE
from rules.opinion import KINDS, PROPORTIONAL
from rules.outcome import V_ACCOUNT, V_AT_US, V_JUDGED, V_TRUTH

_SCORE: Final = V_JUDGED
_FREE: Final = V_JUDGED + J_FREE - J_SCORE
_HAZARDS: Final = V_JUDGED + J_HAZARDS - J_SCORE
_CELLS: Final = V_JUDGED + J_CELLS - J_SCORE
_CLASSES: Final = V_JUDGED + J_CLASSES - J_SCORE
_OFTEN: Final = 256
_MOST_EXPECTED: Final = 0.7
_LEAST: Final = 1e-12
_POOLS: Final = (ACCOUNTS, ACTORS, DESTINATIONS, DEVICES, NETWORKS)
_WORDS: Final = (REPUTATION, ACTOR_REPUTATION, DESTINATION_REPUTATION, DEVICE_REPUTATION, NETWORK_REPUTATION)


@compiled
def learn(p: Places, s: Shared, row: F8) -> None:
    """Learn one verdict."""
    bad = row[V_TRUTH] == 1.0
    alone = row[_FREE] if row[_FREE] > 0.0 else reputation.free_hazard(s.hazard, row[_SCORE])
    free = max(0.0, alone + row[_HAZARDS] + row[_HAZARDS + 1])
    whole = free + row[_HAZARDS + 2] + row[_HAZARDS + 3] + row[_HAZARDS + 4]
    chance = probability_of(free)
    explained = chance / max(_LEAST, probability_of(whole)) if bad else 0.0
    reputation.count_score(s.hazard, row[_SCORE], explained)
    for kind in range(CLASSES):
        if row[_CLASSES + kind] > 0.0:
            reputation.weigh_class(s.hazard, kind, row[_CLASSES + kind], explained, chance)
    expected = min(probability_of(alone), _MOST_EXPECTED)
    for kind in range(KINDS):
        if row[V_ACCOUNT + kind] != 0.0:
            _learn_entity(p, s, row, kind, (explained, expected, whole))
    _count(s)


@compiled
def _count(s: Shared) -> None:
    s.clock[C_VERDICTS] += 1.0
    s.clock[C_SINCE_REFIT] += 1.0
    s.marks[MARK_CLOCK] = 1
    s.marks[MARK_HAZARD] = 1
    learned = int(s.clock[C_VERDICTS])
    if (learned < _OFTEN and learned & (learned - 1) == 0) or s.clock[C_SINCE_REFIT] >= _OFTEN:
        reputation.refit(s.hazard)
        s.clock[C_SINCE_REFIT] = 0.0


@compiled
def _learn_entity(p: Places, s: Shared, row: F8, kind: int, explained: tuple[float, float, float]) -> None:
    """Learn it of one entity; ``explained`` is what the label-free score explains and expected, and the whole hazard."""
    bad = row[V_TRUTH] == 1.0
    by_score, expected, whole = explained
    own, cell = row[_HAZARDS + kind], row[_CELLS + kind]
    bads, judged, blame = by_score, expected, 1.0
    if kind >= PROPORTIONAL:
        bads = probability_of(own) / max(_LEAST, probability_of(whole)) if bad else 0.0
        judged, blame = 1.0, 1.0 - probability_of(whole - own)
    if cell >= 0.0:
        reputation.teach(s.taught[kind], cell, bads, judged)
        s.marks[MARK_TAUGHT + kind] = 1
    pool, at = _POOLS[kind], _WORDS[kind]
    slot = find(p, pool, row[V_ACCOUNT + kind])
    if slot < 0:
        return
    start = start_of(p, pool, slot)
    record = p.arena[start : start + p.meta[pool, M_WIDTH]]
    if kind < PROPORTIONAL:
        reputation.expect(record, at, expected, by_score)
    if bad:
        reputation.mark_bad(record, at, row[V_AT_US], blame)
    else:
        reputation.mark_good(record, at, row[V_AT_US])
    touch(p, pool, slot)
