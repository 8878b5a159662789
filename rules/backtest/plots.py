"""The plots of the report, as SVG that can stand inside a page.

Rules: the same findings give the same bytes (no dates, no random ids); every plot has a title and a description for those
who cannot see it; colours are told apart by lightness too.
"""

import io
import re
from typing import Any, Final
from xml.sax.saxutils import escape

import matplotlib as mpl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from rules.backtest.runner import Trial
from rules.backtest.summary import TrialTold, WeekTold, curve

_INK: Final = "#1f2d3a"
_MAIN: Final = "#1c5d99"
_OTHER: Final = "#d98e04"
_ALARM: Final = "#a4243b"
_STYLE: Final[dict[Any, Any]] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "portcullis",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.edgecolor": _INK,
    "axes.labelcolor": _INK,
    "text.color": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#dfe5ea",
    "grid.linewidth": 0.8,
    "legend.frameon": False,
}
_MOST_BARS: Final = 15


def precision_recall(written: Trial, in_force: Trial | None) -> str:
    """Precision against recall as the threshold falls."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(4.2)
        for trial, colour, label in ((in_force, _OTHER, "in force"), (written, _MAIN, "this back-test")):
            if trial is not None:
                _, precision, recall = curve(trial.tally)
                axes.plot(recall, precision, color=colour, linewidth=1.8, label=label)
        axes.set(xlim=(0, 1.02), ylim=(0, 1.05), xlabel="recall: share of true positives found", ylabel="precision")
        if in_force is not None:
            axes.legend(loc="lower left")
        return _svg(figure, "Precision and recall", "Precision against recall of the score on events with a verdict.")


def weekly_alerts(written: TrialTold, in_force: TrialTold | None, budget: float | None) -> str:
    """Alerts a day in each week: what the score decided, what detectors added, and what was asked for."""
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(3.6)
        weeks = range(1, len(written.weeks) + 1)
        by_score = [_by_score(week) for week in written.weeks]
        added = [max(0.0, week.per_day - score) for week, score in zip(written.weeks, by_score, strict=True)]
        axes.bar(weeks, by_score, color=_MAIN, width=0.7, label="by the score")
        axes.bar(weeks, added, bottom=by_score, color=_ALARM, width=0.7, label="by detectors alone")
        if in_force is not None:
            axes.plot(
                weeks, [week.per_day for week in in_force.weeks], color=_OTHER, marker="o", label="rules in force"
            )
        if budget is not None:
            axes.axhline(budget, color=_INK, linestyle="--", linewidth=1.2, label=f"asked: {budget:g} a day")
        axes.set(xlabel="week", ylabel="alerts and holds a day")
        axes.grid(visible=False, axis="x")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside upper left", ncols=4)
        return _svg(
            figure, "Alerts a day by week", "Realised alerts and holds a day in each week beside what was asked."
        )


def top_reasons(told: TrialTold) -> str:
    """How often a feature was the largest reason of an alert."""
    return _bars(told.top_reasons, "alerts with this as the largest reason", "Top reasons of alerts")


def by_detector(told: TrialTold) -> str:
    """How often each detector decided, a week."""
    weeks = max(1, len(told.weeks))
    rates = {one.id: one.deciding / weeks for one in told.detectors if one.deciding}
    return _bars(rates, "alerts and holds a week", "Alert rate by detector")


def _by_score(week: WeekTold) -> float:
    raised = week.alerts + week.holds
    return week.per_day * week.by_score / raised if raised else 0.0


def _bars(counts: dict[str, int] | dict[str, float], label: str, title: str) -> str:
    shown = sorted(counts.items(), key=lambda pair: (pair[1], pair[0]))[-_MOST_BARS:]
    with mpl.rc_context(_STYLE):
        figure, axes = _figure(0.8 + 0.3 * max(1, len(shown)))
        axes.barh([name for name, _ in shown], [count for _, count in shown], color=_MAIN, height=0.65)
        axes.set(xlabel=label)
        axes.grid(visible=False, axis="y")
        return _svg(figure, title, f"{title}: " + ", ".join(f"{name} {count:g}" for name, count in reversed(shown)))


def _figure(height: float) -> tuple[Figure, Any]:
    figure = Figure(figsize=(8.0, height), layout="constrained")
    return figure, figure.subplots()


def _svg(figure: Figure, title: str, description: str) -> str:
    """The drawing without its XML prologue, with a title and a description in front."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    head, _, rest = text.partition(">")
    told = f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
    return f'{head} role="img">{told}{rest}'
