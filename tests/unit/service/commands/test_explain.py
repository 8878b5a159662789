"""`explain`, `suppressions` and `settings`: what is sent, what is printed, and that mistakes are told what to do."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from service.api.schemas.common import Shown
from service.api.schemas.engine import BlindingAsked, SettingsAsked, SettingsShown, SuppressionShown
from service.api.schemas.explanations import ExplanationShown
from service.cli import app
from service.domain.errors import InputError
from tests.support.commands import Answers, answering, run, runner

ACTIVITY = "act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q"


def example(shown: type[Shown]) -> dict[str, Any]:
    extra = shown.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    found: dict[str, Any] = json.loads(json.dumps(extra["examples"]))[0]
    return found


EVIL = {"sentences": ["It was held.\x1b[2J [red]not red[/red]"]}
GONE = example(ExplanationShown)["detectors"][0] | {"known": False, "id": "long-gone"}
ANSWERS: Answers = {
    ("GET", f"/v1/activities/{ACTIVITY}/explanation"): (200, example(ExplanationShown) | EVIL | {"detectors": [GONE]}),
    ("GET", "/v1/activities/act_x/explanation"): (404, {"code": "not_found", "detail": "there is no activity act_x"}),
    ("GET", "/v1/suppressions"): (200, {"items": [example(SuppressionShown)], "next": None}),
    ("POST", "/v1/suppressions"): (202, example(BlindingAsked)),
    ("POST", "/v1/suppressions/sup_1/lift"): (200, example(SuppressionShown)),
    ("GET", "/v1/engine/settings"): (200, example(SettingsShown)),
    ("POST", "/v1/engine/settings"): (202, example(SettingsAsked)),
}


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    return answering(monkeypatch, ANSWERS)


@pytest.mark.usefixtures("api")
def test_an_explanation_is_printed_as_plain_text() -> None:
    printed = run("explain", ACTIVITY)
    for part in ("hold: withdrawal.requested", "18,342 USD", "40\u2013900 USD", "62%", "no longer in the set in force"):
        assert part in printed
    assert "\x1b[2J" not in printed
    assert "[red]not red[/red]" in printed


@pytest.mark.usefixtures("api")
def test_an_explanation_is_printed_as_json_for_programs() -> None:
    assert json.loads(run("explain", ACTIVITY, "--json"))["decision"] == "hold"


@pytest.mark.usefixtures("api")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("explain", "alr_1"), "portcullis activities --anomalous"),
        (("suppressions", "request", "account:m/a", "--reason", "r"), "--days 7 or --until"),
        (("suppressions", "request", "account:m/a", "--reason", "r", "--days", "1", "--until", "x"), "either"),
        (("settings", "propose", "hold_p", "--why", "w"), "NAME=VALUE"),
        (("settings", "propose", "hold_p=low", "--why", "w"), "NAME=VALUE"),
    ],
)
def test_a_mistake_is_told_what_to_do(words: tuple[str, ...], told: str) -> None:
    with pytest.raises(InputError, match=told):
        runner.invoke(app, list(words), catch_exceptions=False)


def test_what_takes_a_quorum_says_so(api: list[httpx.Request]) -> None:
    printed = run("suppressions", "request", "account:main/hot-1", "--reason", "Payroll.", "--days", "7")
    assert "portcullis approve apr_" in printed
    sent = json.loads(api[0].content)
    assert set(sent) == {"entity", "reason", "expires_at"}
    assert "portcullis approve apr_" in run("settings", "propose", "hold_p=1e-6", "alerts_per_day=null", "--why", "w")
    assert json.loads(api[1].content) == {"changes": {"hold_p": 1e-6, "alerts_per_day": None}, "why": "w"}


def test_lists_and_lifting(api: list[httpx.Request]) -> None:
    assert "account:main/hot-eth-1" in run("suppressions", "list", "--active")
    assert api[0].url.params["active"].lower() == "true"
    assert "count again" in run("suppressions", "lift", "sup_1")
    printed = run("settings", "show")
    assert "when lowered" in printed


HELP: list[Callable[[], str]] = [
    lambda: run("explain", "--help"),
    lambda: run("suppressions", "request", "--help"),
    lambda: run("settings", "propose", "--help"),
]


@pytest.mark.parametrize("shown", HELP)
def test_help_has_an_example(shown: Callable[[], str]) -> None:
    assert "Example" in shown()
