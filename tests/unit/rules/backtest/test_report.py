"""The summary counts what happened, and the report shows it in one self-contained, repeatable, escaped file."""

import re
from pathlib import Path
from xml.etree import ElementTree as ET

import pyarrow.parquet as pq
import pytest

from rules.backtest.report import rendered, write_report
from rules.backtest.runner import Findings
from rules.backtest.summary import Summary, summarise
from tests.unit.rules.backtest.recorded import Row, payments, run, verdicts_on

COUNT = 4000  # 28 days less 20 minutes: three whole weeks and nearly a fourth
BAD = [f"e{number}" for number in range(0, COUNT, 40)]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Findings, Summary]:
    rows = _rows()
    scores, findings = run(tmp_path_factory.mktemp("run"), rows, verdicts=verdicts_on(rows, 86_400.0, BAD))
    return scores, findings, summarise(findings, budget_per_day=2.0)


def _rows() -> list[Row]:
    rows = payments(COUNT)
    for number in range(0, COUNT, 80):
        rows[number] = {**rows[number], "amount_usd": 5000.0}
    return rows


def test_the_summary_is_what_the_scores_say(found: tuple[Path, Findings, Summary]) -> None:
    scores, _, summary = found
    table = pq.read_table(scores)
    raised = [row["event_id"] for row in table.to_pylist() if row["decision"] != "allow"]
    written = summary.written
    assert summary.events == COUNT
    assert written.alerts + written.holds == len(raised)
    assert written.confusion is not None
    assert written.confusion.true_positives == len(set(raised) & set(BAD))
    assert written.confusion.false_positives == len(set(raised) - set(BAD))
    assert written.confusion.false_negatives == len(set(BAD) - set(raised))
    assert written.confusion.unjudged == 0
    assert sum(week.events for week in written.weeks) == COUNT
    assert written.top_reasons == {"amount_usd": len(raised)}


def test_rates_are_told_for_whole_weeks_only(found: tuple[Path, Findings, Summary]) -> None:
    weeks = found[2].written.weeks
    assert [week.whole for week in weeks] == [True, True, True, True]
    for week in weeks:
        assert week.per_day == pytest.approx((week.alerts + week.holds) / 7, abs=0.001)
        assert week.asked == pytest.approx(week.per_day / 2.0, abs=0.001)


def test_examples_say_why(found: tuple[Path, Findings, Summary]) -> None:
    examples = found[2].written.examples
    assert examples["fired"]
    assert examples["missed"]
    assert examples["false_alarm"]
    assert all(one.event_id in BAD for one in (*examples["fired"], *examples["missed"]))
    assert all(one.event_id not in BAD for one in examples["false_alarm"])
    assert all(one.reasons for one in examples["fired"])


def test_the_report_needs_nothing_else_and_is_well_formed(found: tuple[Path, Findings, Summary]) -> None:
    _, findings, summary = found
    page = rendered(findings, summary, "Back-test of x")
    assert page == rendered(findings, summary, "Back-test of x")
    assert "<script" not in page
    assert not re.search(r"""(src|href)\s*=\s*["'](?!#)""", page)
    assert not re.search(r"url\((?!#)", page)
    drawings = re.findall(r"<svg.*?</svg>", page, re.DOTALL)
    assert len(drawings) == 3  # weeks, precision and recall, reasons; no detector fired
    for drawing in drawings:
        title = ET.fromstring(drawing).find("{http://www.w3.org/2000/svg}title")  # noqa: S314  our own drawing
        assert title is not None
        assert title.text


def test_what_comes_from_the_file_is_escaped(tmp_path: Path) -> None:
    rows = [{**row, "event_id": f"<script>alert({number})</script>"} for number, row in enumerate(_rows()[:400])]
    bad = [str(row["event_id"]) for row in rows[::40]]
    _, findings = run(tmp_path, rows, verdicts=verdicts_on(rows, 60.0, bad))
    summary = summarise(findings, None)
    write_report(tmp_path / "report.html", findings, summary, "<b>title</b>")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "<b>title" not in page
    assert "&lt;script&gt;alert(0)" in page


def test_nothing_is_said_of_truth_without_verdicts(tmp_path: Path) -> None:
    _, findings = run(tmp_path, _rows()[:500])
    summary = summarise(findings, None)
    assert summary.written.confusion is None
    assert summary.written.marks is None
    assert summary.written.examples == {}
    assert "Against verdicts" not in rendered(findings, summary, "x")
