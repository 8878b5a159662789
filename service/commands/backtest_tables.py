"""What `portcullis backtest` shows in a terminal: alerts by week, detectors, verdicts, a few examples."""

from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.table import Table
from rich.text import Text

from service.commands.printing import console, plain, table

if TYPE_CHECKING:
    from rules.backtest.examples import Example
    from rules.backtest.summary import Summary, TrialTold

_MOST_ROWS: Final = 20
_MOST_EXAMPLES: Final = 3
_TITLES: Final = {"fired": "raised, rightly", "missed": "missed", "false_alarm": "raised, wrongly"}


def print_summary(summary: "Summary", scores: Path, seconds: float) -> None:
    """Print it."""
    shown = console()
    shown.print(f"{summary.events:,} events in {seconds:.1f} s; scores in {plain(str(scores))}")
    if summary.ignored_columns:
        shown.print(f"columns not used: {plain(', '.join(summary.ignored_columns))}")
    if summary.verdicts_without_event:
        shown.print(f"{summary.verdicts_without_event:,} verdicts are on events that are not in the file")
    trials = [("this back-test", summary.written)]
    if summary.in_force is not None:
        trials.append(("in force", summary.in_force))
    shown.print(_weeks(summary, trials))
    if summary.verdicts:
        shown.print(_confusion(trials))
    shown.print(_detectors(trials))
    if summary.in_force is not None:
        for kind, examples in summary.written.examples.items():
            for example in examples[:_MOST_EXAMPLES]:
                shown.print(_example(kind, example))


def _weeks(summary: "Summary", trials: "list[tuple[str, TrialTold]]") -> Table:
    heads = ["week from", "events"]
    for name, _ in trials:
        heads += [f"{name}: alerts", "holds", "a day", *(["realised / asked"] if summary.budget_per_day else [])]
    rows = []
    for number, week in enumerate(summary.written.weeks[-_MOST_ROWS:], max(0, len(summary.written.weeks) - _MOST_ROWS)):
        row: list[object] = [week.since[:10] + ("" if week.whole else " (part)"), f"{week.events:,}"]
        for _, trial in trials:
            one = trial.weeks[number]
            row += [f"{one.alerts:,}", f"{one.holds:,}", f"{one.per_day:.1f}"]
            if summary.budget_per_day:
                row.append(f"{one.asked:.2f}" if one.asked is not None else "")
        rows.append(row)
    return table("alerts by week", heads, rows)


def _confusion(trials: "list[tuple[str, TrialTold]]") -> Table:
    heads = ["", "true alarms", "false alarms", "missed", "rightly left alone", "no verdict", "AUC", "recall at 0.1 %"]
    rows = []
    for name, trial in trials:
        found, marks = trial.confusion, trial.marks
        counts = (
            (found.true_positives, found.false_positives, found.false_negatives, found.true_negatives, found.unjudged)
            if found
            else ()
        )
        ranks = [f"{marks.auc:.4f}", f"{marks.recall['0.001']:.4f}"] if marks else ["", ""]
        rows.append([name, *(f"{count:,}" for count in counts), *ranks])
    return table("against verdicts", heads, rows)


def _detectors(trials: "list[tuple[str, TrialTold]]") -> Table:
    rows = []
    for name, trial in trials:
        for one in trial.detectors[:_MOST_ROWS]:
            counts = (one.deciding, one.recorded, one.true_positives, one.false_positives)
            rows.append([name, one.id, one.status, *(f"{count:,}" for count in counts)])
    heads = ["set", "detector", "status", "decided", "recorded only", "on true positives", "on false positives"]
    return table("detectors that fired", heads, rows)


def _example(kind: str, one: "Example") -> Text:
    lines = [f"{_TITLES[kind]}: {one.event_id}, score {one.score:.2f}, {one.decision} {', '.join(one.fired)}"]
    lines += [f"  {reason.feature}: {reason.observed} (usual: {reason.usual})" for reason in one.reasons[:4]]
    lines += [f"  {near.detector}: {near.because}" for near in one.near_misses[:4]]
    return Text("\n".join(plain(line) for line in lines))
