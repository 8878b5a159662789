"""The command line against an API that answers from a table."""

from collections.abc import Mapping
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from service.cli import app

Answers = Mapping[tuple[str, str], tuple[int, dict[str, Any]]]
"""Method and path → status and body."""
runner = CliRunner()


def answering(monkeypatch: pytest.MonkeyPatch, answers: Answers) -> list[httpx.Request]:
    """Let every request of the commands be answered from the table; returns what was asked, as it comes."""
    asked: list[httpx.Request] = []
    made = httpx.Client

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        status, body = answers[request.method, request.url.path]
        return httpx.Response(status, json=body)

    def opened(**more: Any) -> httpx.Client:
        return made(**{**more, "transport": httpx.MockTransport(answer)})

    monkeypatch.setattr("service.commands.client.httpx.Client", opened)
    monkeypatch.setenv("PORTCULLIS_API_TOKEN", "pcl_x_y")
    return asked


def run(*words: str) -> str:
    """Run a command that must succeed; returns what it prints."""
    done = runner.invoke(app, list(words), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output
