"""`portcullis setup`: a refused token is not taken for a wrong code."""

from functools import partial
from pathlib import Path

import httpx
import pytest
import typer

from service.commands import setup
from service.commands.client import ApiClient
from service.domain.errors import UnauthenticatedError

PERSON = {"person": "per_1", "api_token": "t", "otpauth_uri": "otpauth://totp/x?secret=AAAA"}


def test_a_refused_token_ends_the_asking_for_codes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str] = []

    def api(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith("/confirm"):
            return httpx.Response(200, json={"people": [PERSON]})
        field = {"field": "code"} if len(asked) == 1 else {}
        return httpx.Response(401, json={"code": "unauthenticated", "detail": "refused", **field})

    def prompt(question: str) -> str:
        asked.append(question)
        assert len(asked) <= 2, "it asks for ever"
        return "123456"

    file = tmp_path / "first.yaml"
    file.write_text("people: [{name: Ada}]")
    (tmp_path / "token").write_text("one-time")
    monkeypatch.setattr(typer, "prompt", prompt)
    monkeypatch.setattr(setup, "ApiClient", partial(ApiClient, transport=httpx.MockTransport(api)))
    with pytest.raises(UnauthenticatedError, match="refused"):
        setup.setup(file, token_file=tmp_path / "token", secrets_to=tmp_path / "secrets")
    assert len(asked) == 2
