"""`letters` and `settle`: what is sent, what is printed, what is written, and mistakes that are told what to do."""

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from service.api.schemas.letters import LetterShown
from service.cli import app
from service.domain.errors import InputError
from service.notifiers.outside import files_of, sums

INCIDENT = "inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P"
STEP = "stp_01JD2Z5Q8Z6W9X4V7T3S1R0Q8S"
runner = CliRunner()


def shown(**changes: object) -> dict[str, Any]:
    extra = LetterShown.model_config["json_schema_extra"]
    assert isinstance(extra, dict)
    found: dict[str, Any] = json.loads(json.dumps(extra["examples"]))[0]
    return found | changes


TEXT = "To: you\x1b[2J\nSecond line\n"
FILES = files_of(TEXT, shown()["subject"])
NOT_SENT = dict.fromkeys(("signature", "sums", "sums_signature", "public_key", "finished_at"))
ANSWERS: dict[str, tuple[int, dict[str, Any]]] = {
    f"/v1/incidents/{INCIDENT}/letters": (200, {"items": [shown(text=TEXT, sums=sums(FILES).decode())]}),
    "/v1/incidents/inc_otherwise/letters": (200, {"items": [shown(text=TEXT + "More.\n", sums=sums(FILES).decode())]}),
    "/v1/incidents/inc_older/letters": (200, {"items": [shown(text=TEXT, sums=None, sums_signature=None)]}),
    "/v1/incidents/inc_waiting/letters": (200, {"items": [shown(text=TEXT, **NOT_SENT)]}),
    "/v1/incidents/inc_lying/letters": (200, {"items": [shown(step="../../etc/passwd")]}),
    f"/v1/incidents/{INCIDENT}/steps/{STEP}/settle": (202, {"approval": "apr_1", "digest": "d"}),
}


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    found: list[httpx.Request] = []
    made = httpx.Client

    def answer(request: httpx.Request) -> httpx.Response:
        found.append(request)
        status, body = ANSWERS[request.url.path]
        return httpx.Response(status, json=body)

    def opened(**more: Any) -> httpx.Client:
        return made(**{**more, "transport": httpx.MockTransport(answer)})

    monkeypatch.setattr("service.commands.client.httpx.Client", opened)
    monkeypatch.setenv("PORTCULLIS_API_TOKEN", "pcl_x_y")
    return found


def test_letters_are_printed_as_plain_text() -> None:
    told = runner.invoke(app, ["letters", INCIDENT])
    assert told.exit_code == 0, told.output
    assert "\x1b[2J" not in told.output
    assert "Second line" in told.output


def test_letters_are_written_byte_for_byte_with_what_proves_them(tmp_path: Path) -> None:
    told = runner.invoke(app, ["letters", INCIDENT, "--save", str(tmp_path / "case")])
    assert told.exit_code == 0, told.output
    found = {one.name: one.read_bytes() for one in (tmp_path / "case" / STEP).iterdir()}
    assert {name: found[name] for name in FILES} == FILES
    assert found["letter.txt.sig"] == base64.b64decode(shown()["signature"])
    assert found["SHA256SUMS.sig"] == base64.b64decode(shown()["sums_signature"])
    assert found["public-key.pem"].startswith(b"-----BEGIN")
    for line in found["SHA256SUMS"].decode().splitlines():
        digest, _, name = line.partition("  ")
        assert hashlib.sha256(found[name]).hexdigest() == digest


def test_a_file_that_is_not_what_was_signed_is_not_written(tmp_path: Path) -> None:
    told = runner.invoke(app, ["letters", "inc_otherwise", "--save", str(tmp_path)])
    assert told.output.count("is not written") == 3
    names = {one.name for one in (tmp_path / STEP).iterdir()}
    assert names == {"letter.txt", "letter.txt.sig", "public-key.pem", "SHA256SUMS", "SHA256SUMS.sig"}


def test_a_letter_from_before_the_pdf_is_saved_as_it_was_signed(tmp_path: Path) -> None:
    assert runner.invoke(app, ["letters", "inc_older", "--save", str(tmp_path)]).exit_code == 0
    assert {one.name for one in (tmp_path / STEP).iterdir()} == {"letter.txt", "letter.txt.sig", "public-key.pem"}


def test_one_that_has_not_gone_out_has_no_signature(tmp_path: Path) -> None:
    assert runner.invoke(app, ["letters", "inc_waiting", "--save", str(tmp_path)]).exit_code == 0
    assert [one.name for one in (tmp_path / STEP).iterdir()] == ["letter.txt"]


def test_an_api_that_lies_writes_nowhere_else(tmp_path: Path) -> None:
    told = runner.invoke(app, ["letters", "inc_lying", "--save", str(tmp_path / "a" / "b")])
    assert isinstance(told.exception, InputError)
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.parametrize(
    "name", ["letter.txt", "letter.txt.sig", "public-key.pem", "SHA256SUMS", "SHA256SUMS.sig", *FILES]
)
@pytest.mark.parametrize("linked", [False, True])
def test_what_is_there_is_never_written_over(tmp_path: Path, name: str, *, linked: bool) -> None:
    (tmp_path / "case" / STEP).mkdir(parents=True)
    kept, there = tmp_path / "kept", tmp_path / "case" / STEP / name
    kept.write_bytes(b"mine")
    if linked:
        there.symlink_to(kept)
    else:
        there.write_bytes(b"mine")
    told = runner.invoke(app, ["letters", INCIDENT, "--save", str(tmp_path / "case")])
    assert isinstance(told.exception, InputError)
    assert name in str(told.exception)
    assert (kept.read_bytes(), there.read_bytes(), there.is_symlink()) == (b"mine", b"mine", linked)


def test_a_link_leads_to_no_other_folder_and_into_no_missing_file(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / "case").mkdir()
    (tmp_path / "case" / STEP).symlink_to(elsewhere)
    told = runner.invoke(app, ["letters", INCIDENT, "--save", str(tmp_path / "case")])
    assert isinstance(told.exception, InputError)
    assert list(elsewhere.iterdir()) == []
    (tmp_path / "other" / STEP).mkdir(parents=True)
    (tmp_path / "other" / STEP / "letter.txt").symlink_to(elsewhere / "made")
    told = runner.invoke(app, ["letters", INCIDENT, "--save", str(tmp_path / "other")])
    assert isinstance(told.exception, InputError)
    assert list(elsewhere.iterdir()) == []


def test_saving_again_adds_what_was_missing(tmp_path: Path) -> None:
    for incident in ("inc_waiting", INCIDENT, INCIDENT):
        told = runner.invoke(app, ["letters", incident, "--save", str(tmp_path)])
        assert told.exit_code == 0, told.output
        assert (tmp_path / STEP / "letter.txt").read_bytes() == TEXT.encode()
    assert (tmp_path / STEP / "SHA256SUMS.sig").is_file()


def test_settling_names_the_approval(asked: list[httpx.Request]) -> None:
    told = runner.invoke(app, ["settle", INCIDENT, STEP, "did_not_happen", "--why", "Their log has no such call."])
    assert told.exit_code == 0, told.output
    assert "portcullis approve apr_1" in told.output
    assert json.loads(asked[0].content) == {"outcome": "did_not_happen", "why": "Their log has no such call."}
    assert runner.invoke(app, ["settle", INCIDENT, STEP, "perhaps", "--why", "x"]).exit_code == 2
