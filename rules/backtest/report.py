"""The report of a back-test: one HTML file that needs nothing else.

Rules: no script, no font, no picture from elsewhere (its own content policy forbids them); everything that came from the
file is escaped; the same findings give the same bytes.
"""

from importlib.resources import files
from pathlib import Path
from typing import Final

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from rules.backtest import plots
from rules.backtest.examples import FALSE_ALARM, FIRED, MISSED
from rules.backtest.runner import Findings
from rules.backtest.summary import Summary, moment
from rules.backtest.writer import whole_file

_TITLES: Final = {
    FIRED: "True positives that were raised",
    MISSED: "True positives that were missed",
    FALSE_ALARM: "False alarms",
}


def write_report(path: Path, findings: Findings, summary: Summary, title: str) -> None:
    """Write the report. Raises :class:`rules.backtest.errors.EventsFileError` when the file cannot be written."""
    text = rendered(findings, summary, title)
    with whole_file(path) as opened:
        opened.write(text.encode())


def rendered(findings: Findings, summary: Summary, title: str) -> str:
    """The page."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["moment"] = moment
    environment.filters["thousands"] = lambda number: f"{number:,}"
    template = environment.from_string((files("rules.backtest") / "report.html").read_text(encoding="utf-8"))
    written, in_force = summary.written, summary.in_force
    drawn = {
        "weekly": plots.weekly_alerts(written, in_force, summary.budget_per_day) if written.weeks else "",
        "reasons": plots.top_reasons(written) if written.top_reasons else "",
        "detectors": plots.by_detector(written) if any(one.deciding for one in written.detectors) else "",
        "curve": plots.precision_recall(findings.written, findings.in_force) if written.marks else "",
    }
    return template.render(
        title=title,
        summary=summary,
        trials=[("this back-test", written), *([("rules in force", in_force)] if in_force else [])],
        # The drawings are made by matplotlib, which escapes its texts, and by us.
        plots={name: Markup(svg) for name, svg in drawn.items()},  # noqa: S704  as said above
        titles=_TITLES,
    )
