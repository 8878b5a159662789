"""`status` tells how the engine is when it may ask, and otherwise why it cannot tell."""

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from service.api.schemas.access import StateShown
from service.cli import app
from service.runtime.status import PartStatus, Status

runner = CliRunner()


def details(**changes: Any) -> dict[str, Any]:
    extra = StateShown.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    example: dict[str, Any] = json.loads(json.dumps(extra["examples"]))[0]
    return example | changes


def status(monkeypatch: pytest.MonkeyPatch, told: dict[str, Any] | None, *words: str) -> str:
    made = httpx.Client

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.url.path == "/v1/health/details"
        if told is None:
            raise httpx.ConnectError("refused")
        return httpx.Response(200, json=told)

    monkeypatch.setattr(
        "service.commands.client.httpx.Client", lambda **more: made(**more | {"transport": httpx.MockTransport(answer)})
    )
    part = PartStatus("api", 4711, "ready", "http://127.0.0.1:8420", 0, 120.0)
    monkeypatch.setattr(
        "service.runtime.status.read_status", lambda _layout: Status("/here", 1, starting=False, parts=(part,))
    )
    done = runner.invoke(app, ["status", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_engine_is_shown_with_its_place_and_drift(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTCULLIS_API_TOKEN", "pcl_x_y")
    unknown = {"name": "signing", "scores": 3, "drift_at_10_percent": None, "drift_at_1_percent": None}
    told = details(rows_behind=12)
    told["calibrations"].append(unknown)
    out = status(monkeypatch, told)
    assert "engine at row 90,344, 12 rows behind" in out
    assert [word in out for word in ("money", "90,210", "1.02", "0.97", "19.40", "too little seen")] == [True] * 6
    engine = json.loads(status(monkeypatch, told, "--json"))["engine"]
    assert engine == {name: told[name] for name in ("sequence", "rows_behind", "calibrations", "budgets")}


@pytest.mark.parametrize(
    ("token", "told", "why"),
    [
        ("", None, "no API token"),
        ("pcl_x_y", None, "no API answers"),
        ("pcl_x_y", details(sequence=None, rows_behind=None), "being built"),
    ],
)
def test_what_cannot_be_told_says_why(
    monkeypatch: pytest.MonkeyPatch, token: str, told: dict[str, Any] | None, why: str
) -> None:
    monkeypatch.setenv("PORTCULLIS_API_TOKEN", token)
    monkeypatch.delenv("PORTCULLIS_API_TOKEN_FILE", raising=False)
    assert why in status(monkeypatch, told)
    found = json.loads(status(monkeypatch, told, "--json"))
    assert found["engine"] is None
    assert why in found["engine_not_told"]
    assert found["parts"][0]["pid"] == 4711
