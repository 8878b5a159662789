"""The commands for analysts and responders: what is sent, what is printed, and that printed text forges nothing."""

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from service.api.schemas.activities import ActivityShown
from service.api.schemas.alerts import AlertShown
from service.api.schemas.common import Shown
from service.api.schemas.incidents import IncidentWhole, LineShown
from service.cli import app
from service.commands.printing import plain
from service.domain.errors import ForbiddenError, InputError, NotFoundError

INCIDENT = "inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R"
runner = CliRunner()


def example(shown: type[Shown]) -> dict[str, Any]:
    extra = shown.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    found: dict[str, Any] = json.loads(json.dumps(extra["examples"]))[0]
    return found


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    """An API that answers from `ANSWERS`; what it was asked."""
    asked: list[httpx.Request] = []
    made = httpx.Client

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return ANSWERS[request.method, request.url.path](request)

    def opened(**more: Any) -> httpx.Client:
        return made(**{**more, "transport": httpx.MockTransport(answer)})

    monkeypatch.setattr("service.commands.client.httpx.Client", opened)
    monkeypatch.setenv("PORTCULLIS_API_TOKEN", "pcl_x_y")
    return asked


def tells(body: object, status: int = 200) -> Callable[[httpx.Request], httpx.Response]:
    return lambda _: httpx.Response(status, json=body)


def page(*items: object) -> dict[str, object]:
    return {"items": list(items), "next": "bmV4dA"}


WHOLE = example(IncidentWhole) | {"timeline": [example(LineShown) | {"sentence": "Gone\x1b[2J [bold]not bold[/bold]"}]}
PROBLEM = {"code": "forbidden", "detail": "this needs a token of one of the roles: responder"}
ANSWERS: dict[tuple[str, str], Callable[[httpx.Request], httpx.Response]] = {
    ("GET", "/v1/incidents"): tells(page(example(IncidentWhole))),
    ("GET", f"/v1/incidents/{INCIDENT}"): tells(WHOLE),
    ("GET", "/v1/incidents/../tokens"): tells({"code": "not_found", "detail": "there is none"}, 404),
    ("GET", "/v1/alerts"): tells(page(example(AlertShown))),
    ("GET", "/v1/activities"): tells(page(example(ActivityShown))),
    ("POST", f"/v1/incidents/{INCIDENT}/acknowledge"): tells(PROBLEM, 403),
    ("POST", f"/v1/incidents/{INCIDENT}/comments"): tells(WHOLE, 201),
    ("POST", f"/v1/incidents/{INCIDENT}/close"): tells({"approval": "apr_1", "digest": "d"}, 202),
    ("POST", f"/v1/incidents/{INCIDENT}/actions"): tells({}, 202),
    ("POST", f"/v1/incidents/{INCIDENT}/steps/stp_1/confirm"): tells(WHOLE),
    ("POST", "/v1/activities/act_1/clear"): tells({"approval": "apr_1", "digest": "d"}, 202),
    ("POST", "/v1/tokens"): tells({"id": "tok_1", "token": "pcl_1_secret"}, 201),
    ("DELETE", "/v1/tokens/tok_1"): lambda _: httpx.Response(204),
}


def run(*words: str) -> str:
    done = runner.invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_lists_are_asked_for_as_told_and_say_that_there_is_more(api: list[httpx.Request]) -> None:
    told = run("incidents", "--state", "open", "--severity", "high", "--limit", "5")
    assert dict(api[0].url.params) == {"state": "open", "severity": "high", "limit": "5"}
    assert INCIDENT in told
    assert "--cursor bmV4dA" in told
    assert "alr_" in run("alerts", "--waiting")
    assert api[1].url.params["waiting"] == "True"
    assert "hot-eth-1" in run("activities")
    assert "anomalous" not in api[2].url.params


def test_json_is_the_document_itself(api: list[httpx.Request]) -> None:
    assert json.loads(run("incident", INCIDENT, "--json")) == WHOLE
    assert api


def test_what_is_printed_is_text_and_never_a_terminal_s_command(api: list[httpx.Request]) -> None:
    told = run("incident", INCIDENT)
    assert "\x1b" not in told
    assert "Gone\ufffd[2J [bold]not bold[/bold]" in told
    assert api


def test_closing_says_where_the_quorum_is_and_alerts_may_differ(api: list[httpx.Request]) -> None:
    said = ("--version", "7", "--alert", "alr_1=inconclusive", "--why", "Ours.")
    told = run("close", INCIDENT, "--verdict", "false_positive", *said)
    assert json.loads(api[0].content) == {
        "verdict": "false_positive",
        "version": 7,
        "alerts": {"alr_1": "inconclusive"},
        "why": "Ours.",
    }
    assert "portcullis approve apr_1" in told
    with pytest.raises(InputError, match="alr_…=verdict"):
        run("close", INCIDENT, "--verdict", "true_positive", "--version", "7", "--alert", "alr_1=maybe")


def test_clearing_says_where_the_quorum_is(api: list[httpx.Request]) -> None:
    assert "portcullis approve apr_1" in run("clear", "act_1", "--why", "Called back.")
    run("clear", "act_1")
    assert [json.loads(one.content) for one in api] == [{"why": "Called back."}, {}]


def test_the_other_calls_are_made_as_written(api: list[httpx.Request]) -> None:
    run("comment", INCIDENT, "Called them.")
    run("confirm", INCIDENT, "stp_1")
    run("request", INCIDENT, "recover")
    run("request", INCIDENT, "raise_threshold", "--number", "signatures=3", "--number", "before=2")
    numbers = {"signatures": 3, "before": 2}
    asked = [{"action": "recover"}, {"action": "raise_threshold", "numbers": numbers}]
    assert [json.loads(one.content) for one in api] == [{"text": "Called them."}, {}, *asked]
    with pytest.raises(InputError, match="name=number"):
        run("request", INCIDENT, "raise_threshold", "--number", "three")
    with pytest.raises(ForbiddenError, match="roles: responder"):
        run("ack", INCIDENT)


def test_an_id_is_one_segment_whatever_was_typed(api: list[httpx.Request]) -> None:
    with pytest.raises(NotFoundError):
        run("incident", "../tokens")
    assert api[0].url.raw_path == b"/v1/incidents/..%2Ftokens"


def test_a_new_token_is_alone_on_standard_output(api: list[httpx.Request]) -> None:
    done = runner.invoke(app, ["tokens", "add", "loader", "--role", "ingest", "--connection", "main"])
    assert done.stdout == "pcl_1_secret\n"
    assert "not shown again" in done.stderr
    assert json.loads(api[0].content) == {"label": "loader", "role": "ingest", "valid_days": 90, "connection": "main"}
    assert "revoked" in run("tokens", "revoke", "tok_1")


@pytest.mark.parametrize(
    "words",
    [
        "incidents",
        "incident",
        "ack",
        "assign",
        "comment",
        "close",
        "confirm",
        "request",
        "settle",
        "letters",
        "alerts",
        "verdict",
        "activities",
    ],
)
def test_help_shows_an_example(words: str) -> None:
    assert f"portcullis {words}" in runner.invoke(app, [words, "--help"]).output.replace("\n", " ")


def test_plain_text_keeps_lines_and_nothing_else() -> None:
    assert plain("a\nb\t\x1b\u202e") == "a\nb\ufffd\ufffd\ufffd"
    assert plain(["a", None, 3]) == "a, , 3"
