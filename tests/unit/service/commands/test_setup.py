"""`portcullis setup`: what is refused is told, and what is told once has a place before it is asked for."""

import json
from functools import partial
from pathlib import Path

import httpx
import pytest
import typer

from service.commands import setup
from service.commands.client import ApiClient
from service.domain.errors import InputError, UnauthenticatedError, UnavailableError

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


def test_nothing_is_asked_for_that_could_not_be_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[httpx.Request] = []

    def api(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        raise httpx.ConnectError("", request=request)

    file, secrets = tmp_path / "first.yaml", tmp_path / "secrets"
    file.write_text("people: [{name: Ada}]")
    (tmp_path / "token").write_text("one-time")
    secrets.write_text("of an earlier set-up")
    monkeypatch.setattr(setup, "ApiClient", partial(ApiClient, transport=httpx.MockTransport(api)))
    with pytest.raises(InputError, match="secrets cannot be made: File exists; name a new file"):
        setup.setup(file, token_file=tmp_path / "token", secrets_to=secrets)
    assert (asked, secrets.read_text()) == ([], "of an earlier set-up")
    secrets.unlink()
    with pytest.raises(UnavailableError):
        setup.setup(file, token_file=tmp_path / "token", secrets_to=secrets)
    assert (len(asked), secrets.exists()) == (1, False)


def test_a_set_up_that_is_broken_off_says_how_to_go_on_and_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[str] = []
    codes: list[str] = []
    broken = True

    def api(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path.removeprefix("/v1/setup/"))
        if broken and asked[-1] == "channels":
            return httpx.Response(422, json={"code": "invalid_input", "detail": "no such kind", "field": "channels"})
        people = [{"person": f"per_{n}", "otpauth_uri": "otpauth://x", "api_token": f"pcl_{n}"} for n in (1, 2)]
        account = {"connection": "c", "ref": "hot", "id": "acc_1"}
        return httpx.Response(200, json={"people": people, "accounts": [account]})

    def prompt(_question: str) -> str:
        if not codes:
            raise typer.Abort
        return codes.pop()

    file, token, secrets = tmp_path / "first.yaml", tmp_path / "token", tmp_path / "secrets"
    file.write_text("people: [{name: Ada}, {name: Grace}]\nchannels: [{id: mail}]")
    token.write_text("one-time")
    monkeypatch.setattr(typer, "prompt", prompt)
    monkeypatch.setattr(setup, "ApiClient", partial(ApiClient, transport=httpx.MockTransport(api)))
    with pytest.raises(InputError, match="no such kind"):
        setup.setup(file, token_file=token, secrets_to=secrets)
    assert [told["api_token"] for told in json.loads(secrets.read_text())["people"]] == ["pcl_1", "pcl_2"]
    told = capsys.readouterr().out
    assert f"are in {secrets}: hand them over" in told
    assert f"Take people out of {file}: that is registered. Then: portcullis setup {file} --confirm per_1" in told

    broken = False
    codes.append("123456")
    file.write_text("channels: [{id: mail}]\naccounts: [{ref: hot}]")
    with pytest.raises(typer.Abort):
        setup.setup(file, token_file=token, confirm=["per_1", "per_2"])
    told = capsys.readouterr().out
    assert told.endswith(
        f"Take channels out of {file}: that is registered. Then: portcullis setup {file} --confirm per_2\n"
    )

    codes.append("123456")
    file.write_text("accounts: [{ref: hot}]")
    asked.clear()
    setup.setup(file, token_file=token, confirm=["per_2"])
    assert asked == ["policy", "people/per_2/confirm", "accounts", "complete"]


@pytest.mark.parametrize(
    ("text", "told"), [(None, "cannot be read: No such file"), ("people: [", "is not YAML: .* line 1, column 10")]
)
def test_a_file_that_is_no_plan_is_told_in_one_line(tmp_path: Path, text: str | None, told: str) -> None:
    file = tmp_path / "first.yaml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(InputError, match=told) as refused:
        setup.read_plan(file)
    assert "\n" not in str(refused.value)
