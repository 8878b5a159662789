"""What the whole installation shares: the population, tails, calibrations, what verdicts taught, the budget.

Rules enforced here:
- It stands in one vector of words, cut into named sections; a section is stored whole when anything in it changed.
- Families and the experience of an entity make classes (Mondrian conformal prediction, Vovk et al. 2005, section 4.5):
  the wide scores of entities in their first weeks would otherwise make a later theft look ordinary.
- Event time of the installation never goes back; weights that decay are inflated instead and deflated together.
"""

from typing import Final, NamedTuple

from rules.arithmetic import exp2
from rules.arrays import F8, I8
from rules.baseline.layout import WIDTH, Kind
from rules.baseline.tails import HEAD_WORDS, TAIL_WIDTH, deflate, gather, prepare, scatter
from rules.compiled import entry
from rules.settings import EngineSettings

# Settings as the kernel reads them.
S_ALERT_P: Final = 0
S_HOLD_P: Final = 1
S_ALERT_FLOOR: Final = 2
S_HOLD_FLOOR: Final = 3
S_MIN_SCORES: Final = 4
S_CLIP: Final = 5
S_MEMORY_US: Final = 6
S_ENOUGH: Final = 7
S_ALERTS_PER_DAY: Final = 8
"""0 when there is no budget; so the next two, of what the score itself raises: alerts and holds."""
S_ALERTS_MEDIUM: Final = 9
S_ALERTS_HIGH: Final = 10
S_HALF_LIFE_US: Final = 11
SETTING_WORDS: Final = 16

# The clock: latest event time; then the epoch and inflation of the two half-lives that weights decay by.
C_NOW_US: Final = 0
C_SLOW_EPOCH_US: Final = 1
C_SLOW: Final = 2
C_FAST_EPOCH_US: Final = 3
C_FAST: Final = 4
C_VERDICTS: Final = 5
"""How many verdicts were learned."""
C_SINCE_REFIT: Final = 6
CLOCK_WORDS: Final = 8
SLOW_HALF_LIFE_US: Final = 60.0 * 86_400e6
"""Half-life of what is usual for everybody."""
_DAY_US: Final = 86_400e6
_REBASE: Final = 1099511627776.0  # 2**40

FAMILIES: Final = ("money", "signing", "access", "governance")
CLASSES: Final = tuple(family + experience for family in FAMILIES for experience in ("", "/not_enough"))
"""Classes of calibration: a family's code times two, plus one for entities without enough history."""

BUDGETS: Final = ("overall", "medium", "high", "hold")
BUDGET_WORDS: Final = 8

# Own size, size for everybody, evidence of both, then one tail for each feature.
OWN_SIZE: Final = 0
ANY_SIZE: Final = 1
OWN_EVIDENCE: Final = 2
ANY_EVIDENCE: Final = 3
FIRST_FEATURE: Final = 4

# What verdicts taught about one kind of entity, by class of good streak and bad count, then also by age of the episode.
KINDS_JUDGED: Final = ("account", "actor", "destination", "device", "network")
STREAKS: Final = 6
BADS: Final = 6
COARSE: Final = 40
FINE: Final = 160
COARSE_AT: Final = STREAKS * BADS * 2
FINE_AT: Final = COARSE_AT + STREAKS * BADS * COARSE * 2
TAUGHT_WORDS: Final = FINE_AT + STREAKS * BADS * FINE * 2
SCORE_BINS: Final = 96
"""Bins of the label-free score, eight a decade: of bad and judged verdicts, then the fitted hazard of each; then weights
of classes of groups."""
HAZARD_WORDS: Final = 3 * SCORE_BINS + 16


class Shared(NamedTuple):
    """Views of the sections. ``heads`` are those of the features' tails; ``marks`` is 1 for each section that changed."""

    settings: F8
    population: F8
    clock: F8
    budgets: F8
    tails: F8
    free: F8
    final: F8
    taught: F8
    hazard: F8
    heads: F8
    marks: I8


class Section(NamedTuple):
    """One stored section."""

    kind: Kind
    name: str
    start: int
    words: int


def sections(features: tuple[str, ...], tailed: int) -> tuple[Section, ...]:
    """All sections in order, given the names of features, of which the first ``tailed`` have tails."""
    tails = ("own_size", "any_size", "own_evidence", "any_evidence", *features[:tailed])
    parts = [
        (Kind.POPULATION, "population", WIDTH[Kind.POPULATION]),
        (Kind.TABLE, "clock", CLOCK_WORDS),
        (Kind.BUDGET, "budgets", len(BUDGETS) * BUDGET_WORDS),
        *((Kind.TABLE, f"tail/{name}", TAIL_WIDTH) for name in tails),
        *((Kind.CALIBRATION, f"free/{name}", TAIL_WIDTH) for name in CLASSES),
        *((Kind.CALIBRATION, f"final/{name}", TAIL_WIDTH) for name in CLASSES),
        *((Kind.TABLE, f"verdicts/{name}", TAUGHT_WORDS) for name in KINDS_JUDGED),
        (Kind.TABLE, "verdicts/score", HAZARD_WORDS),
        (Kind.TABLE, "heads", HEAD_WORDS * tailed),
    ]
    start = SETTING_WORDS
    found = []
    for kind, name, words in parts:
        found.append(Section(kind, name, start, words))
        start += words
    return tuple(found)


@entry
def prepare_all(tails: F8, free: F8, final: F8, heads: F8) -> None:
    """Make every tail empty."""
    for at in range(len(tails)):
        prepare(tails[at], -4.0, 60.0)
    for feature in range(len(tails) - FIRST_FEATURE):
        scatter(heads, feature, tails[FIRST_FEATURE + feature])
    prepare(tails[OWN_SIZE], -8.0, 56.0)
    prepare(tails[ANY_SIZE], -16.0, 112.0)
    prepare(tails[OWN_EVIDENCE], -6.0, 26.0)
    prepare(tails[ANY_EVIDENCE], 0.0, 16.0)
    for at in range(len(free)):
        prepare(free[at], 0.0, 16.0)
        prepare(final[at], 0.0, 16.0)


@entry
def _inflation(clock: F8, at: int, half_life_us: float) -> float:
    """Set an inflation to the clock's time. What all its weights must be multiplied by: 1, or little when they are large."""
    if clock[at] == 0.0:
        clock[at] = clock[C_NOW_US]
    grown = (clock[C_NOW_US] - clock[at]) / half_life_us
    clock[at + 1] = exp2(grown)
    if clock[at + 1] <= _REBASE:
        return 1.0
    clock[at] = clock[C_NOW_US]
    clock[at + 1] = 1.0
    return exp2(-grown)


@entry
def advance(shared: Shared, now_us: float) -> int:
    """Move the clock on; both inflations are those of its time. 1 when slow weights were deflated, 2 when fast ones."""
    clock, tails, heads = shared.clock, shared.tails, shared.heads
    clock[C_NOW_US] = max(clock[C_NOW_US], now_us)
    deflated = 0
    shrunk = _inflation(clock, C_SLOW_EPOCH_US, SLOW_HALF_LIFE_US)
    if shrunk != 1.0:
        for row in range(FIRST_FEATURE):
            deflate(tails[row], shrunk)
        for feature in range(len(tails) - FIRST_FEATURE):
            tail = tails[FIRST_FEATURE + feature]
            gather(heads, feature, tail)
            deflate(tail, shrunk)
            scatter(heads, feature, tail)
        deflated += 1
    shrunk = _inflation(clock, C_FAST_EPOCH_US, shared.settings[S_HALF_LIFE_US])
    if shrunk != 1.0:
        for row in range(len(shared.free)):
            deflate(shared.free[row], shrunk)
            deflate(shared.final[row], shrunk)
        deflated += 2
    return deflated


def write_settings(shared: Shared, settings: EngineSettings) -> None:
    """Put settings where the kernel reads them. Weights decay by the half-life that was in force when they were counted."""
    words = shared.settings
    half_life_us = settings.half_life_days * _DAY_US
    if half_life_us != words[S_HALF_LIFE_US] and shared.clock[C_FAST_EPOCH_US] > 0.0:
        for row in (*shared.free, *shared.final):
            deflate(row, 1.0 / shared.clock[C_FAST])
        shared.clock[C_FAST_EPOCH_US] = shared.clock[C_NOW_US]
        shared.clock[C_FAST] = 1.0
        shared.marks[:] = 1
    words[S_ALERT_P], words[S_HOLD_P] = settings.alert_p, settings.hold_p
    words[S_ALERT_FLOOR], words[S_HOLD_FLOOR] = settings.alert_floor, settings.hold_floor
    words[S_MIN_SCORES], words[S_CLIP] = settings.min_scores, settings.clip
    words[S_MEMORY_US], words[S_ENOUGH] = settings.memory_days * _DAY_US, settings.enough_events
    words[S_ALERTS_PER_DAY] = settings.alerts_per_day or 0.0
    words[S_ALERTS_MEDIUM] = settings.alerts_per_day_by_severity.get("medium", 0.0)
    words[S_ALERTS_HIGH] = settings.alerts_per_day_by_severity.get("high", 0.0)
    words[S_HALF_LIFE_US] = half_life_us
