"""What a back-test found, in the words of its readers: one document for ``--json``, the terminal and the report.

Rules: a rate is told for whole weeks only; recall and precision are told against verdicts only, and say how many there
were. Fields keep their names from version to version.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec
import numpy as np

from rules.arrays import F8
from rules.backtest.examples import Example
from rules.backtest.runner import Findings, Trial
from rules.backtest.tally import BINS_PER_UNIT, DAY_US, WEEK_US, Tally, Week
from rules.features.names import NAMES

RATES: Final = (0.001, 0.01)
_TOP_REASONS: Final = 12
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class WeekTold(msgspec.Struct, frozen=True):
    """One week. ``asked`` is realised over asked alerts, where a budget was given and the week is whole."""

    since: str
    events: int
    alerts: int
    holds: int
    by_score: int
    per_day: float
    whole: bool
    asked: float | None


class DetectorTold(msgspec.Struct, frozen=True):
    """How often a detector fired: deciding, only recorded (shadow, exception), and on judged events."""

    id: str
    status: str
    deciding: int
    recorded: int
    true_positives: int
    false_positives: int


class ConfusionTold(msgspec.Struct, frozen=True):
    """Alerts and holds against verdicts. ``unjudged`` were raised and nobody said what they were."""

    true_positives: int
    false_positives: int
    false_negatives: int
    true_negatives: int
    unjudged: int


class MarksTold(msgspec.Struct, frozen=True):
    """How well the score ranks judged events; recall by false-positive rate among those judged false."""

    judged_true: int
    judged_false: int
    auc: float
    average_precision: float
    recall: dict[str, float]


class TrialTold(msgspec.Struct, frozen=True):
    """One rule set's results."""

    rules_digest: str
    alerts: int
    holds: int
    weeks: list[WeekTold]
    detectors: list[DetectorTold]
    top_reasons: dict[str, int]
    confusion: ConfusionTold | None
    marks: MarksTold | None
    examples: dict[str, list[Example]]


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """Everything. ``in_force`` is there when a candidate was tried beside it."""

    events: int
    since: str | None
    until: str | None
    not_enough_history: int
    ignored_columns: list[str]
    budget_per_day: float | None
    verdicts: int
    verdicts_used: int
    verdicts_without_event: int
    written: TrialTold
    in_force: TrialTold | None


def summarise(findings: Findings, budget_per_day: float | None) -> Summary:
    """The document of a run."""
    tally = findings.written.tally
    judged = findings.verdicts > 0
    return Summary(
        events=tally.events,
        since=moment(tally.first_us) if tally.events else None,
        until=moment(tally.last_us) if tally.events else None,
        not_enough_history=tally.newcomers,
        ignored_columns=list(findings.ignored),
        budget_per_day=budget_per_day,
        verdicts=findings.verdicts,
        verdicts_used=findings.verdicts_used,
        verdicts_without_event=findings.verdicts_unmatched,
        written=_trial(findings.written, budget_per_day, judged=judged),
        in_force=_trial(findings.in_force, budget_per_day, judged=judged) if findings.in_force else None,
    )


def moment(at_us: int) -> str:
    """Epoch microseconds as RFC 3339 to the second."""
    return (_EPOCH + timedelta(microseconds=at_us)).strftime("%Y-%m-%dT%H:%M:%SZ")


def curve(tally: Tally) -> tuple[F8, F8, F8]:
    """(threshold, precision, recall) by falling threshold, from the counted scores of judged events."""
    hits = np.cumsum(tally.positives[::-1]).astype(np.float64)
    seen = hits + np.cumsum(tally.negatives[::-1])
    some = seen > 0.0
    thresholds = (np.arange(len(hits))[::-1] / BINS_PER_UNIT)[some]
    return thresholds, hits[some] / seen[some], hits[some] / max(1.0, hits[-1] if len(hits) else 0.0)


def _trial(trial: Trial, budget: float | None, *, judged: bool) -> TrialTold:
    tally = trial.tally
    weeks = [_week(tally, number, week, budget) for number, week in sorted(tally.weeks.items())]
    matrix = tally.confusion
    return TrialTold(
        rules_digest=trial.detectors.digest(),
        alerts=sum(week.alerts for week in weeks),
        holds=sum(week.holds for week in weeks),
        weeks=weeks,
        detectors=_detectors(trial),
        top_reasons={NAMES[index]: count for index, count in tally.reasons.most_common(_TOP_REASONS)},
        confusion=ConfusionTold(
            matrix.true_positives,
            matrix.false_positives,
            matrix.false_negatives,
            matrix.true_negatives,
            matrix.unjudged,
        )
        if judged
        else None,
        marks=_marks(tally) if tally.positives.any() and tally.negatives.any() else None,
        examples=trial.examples.found if judged else {},
    )


def _week(tally: Tally, number: int, week: Week, budget: float | None) -> WeekTold:
    whole = number < tally.whole_weeks
    days = 7.0 if whole else max(1.0, (tally.last_us - tally.first_us - number * WEEK_US) / DAY_US)
    per_day = week.raised / days
    asked = per_day / budget if budget and whole else None
    since = moment(tally.first_us + number * WEEK_US)
    return WeekTold(since, week.events, week.alerts, week.holds, week.by_score, round(per_day, 3), whole, asked)


def _detectors(trial: Trial) -> list[DetectorTold]:
    told = []
    for position, detector in enumerate(trial.detectors.running):
        found = trial.tally.detectors.get(position)
        if found is not None:
            status = detector.declaration.standing
            told.append(DetectorTold(detector.id, status, found.deciding, found.recorded, found.true, found.false))
    return sorted(told, key=lambda one: (-one.deciding, -one.recorded, one.id))


def _marks(tally: Tally) -> MarksTold:
    _, precision, recall = curve(tally)
    hits, misses = tally.positives[::-1].astype(np.float64), tally.negatives[::-1].astype(np.float64)
    found, false = np.cumsum(hits), np.cumsum(misses)
    auc = float(np.sum(misses * (found - hits / 2.0)) / (found[-1] * false[-1]))
    before = np.concatenate(([0.0], found))
    return MarksTold(
        judged_true=int(found[-1]),
        judged_false=int(false[-1]),
        auc=auc,
        average_precision=float(np.sum(np.diff(recall, prepend=0.0) * precision)),
        recall={f"{rate:g}": float(before[np.argmax(false > rate * false[-1])] / found[-1]) for rate in RATES},
    )
