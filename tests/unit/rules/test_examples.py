"""Every feature that is declared is shown by an example, and measures what the example says."""

from math import isnan
from pathlib import Path

import pytest

from rules.examples import EXAMPLES, Example
from rules.features.catalogue import BY_NAME
from rules.features.names import NAMES
from rules.trial import played

PAGE = Path(__file__).parents[3] / "docs/generated/features.md"


def test_every_feature_is_shown_and_nothing_else() -> None:
    assert set(EXAMPLES) == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_an_example_gives_its_value(name: str) -> None:
    example = EXAMPLES[name]
    assert not isnan(example.value)
    assert played(example)[name] == pytest.approx(example.value, rel=1e-3, abs=1e-9)


def test_the_page_of_features_shows_each_with_its_value() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name in NAMES:
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}` |"))
        assert f"{EXAMPLES[name]} → {BY_NAME[name].show(EXAMPLES[name].value)}" in row


def test_a_verdict_needs_something_to_be_about() -> None:
    steps = EXAMPLES["reputation_account"].steps
    with pytest.raises(ValueError, match="there is none"):
        played(Example(0.0, steps[1:]))


def test_what_is_said_of_an_example_can_be_read_aloud() -> None:
    assert str(EXAMPLES["failed_logins_10m"]) == (
        "access.login_failed (actor alice, asn 64500); 60 s later access.login_failed (actor alice, asn 64500)"
    )
    assert str(EXAMPLES["new_access_24h"]).startswith("5 times access.login_succeeded")
    assert str(EXAMPLES["hour_of_week"]).startswith("Tue 09h UTC: ")
