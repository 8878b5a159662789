"""The page that explains a score shows what the engine says, to the last digit."""

import pytest

from bench import worked_example
from tests.architecture.tree import ROOT


def test_the_page_shows_what_a_run_prints(capsys: pytest.CaptureFixture[str]) -> None:
    worked_example.main()
    printed = capsys.readouterr().out.strip()
    page = (ROOT / "docs" / "concepts" / "score.md").read_text(encoding="utf-8")
    assert f"```\n{printed}\n```" in page, "put the output of `python -m bench.worked_example` into the page"
