"""What leaves a person's machine is sealed, with a key that the API had no hand in."""

import json
from pathlib import Path

import httpx
import pytest
import typer
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from hsm.sealing import KEY_BYTES, Envelope, oaep_sha1, open_with_key, seal_reply
from service.commands import approve
from service.commands.client import ApiClient
from service.commands.people import app, enrolment_uri, read_client_key
from service.commands.sealing import BALLOTS_VARIABLE, ballot_key, sealed_text
from service.domain.approval import Draft, check_code, propose
from service.domain.ballot import (
    BALLOT_TAG,
    ENROLMENT_ANSWER_TAG,
    ENROLMENT_TAG,
    BallotPaper,
    associated_data,
    client_code,
    from_text,
    read_client_code,
    read_paper,
    to_text,
)
from service.domain.errors import ApprovalError, ConfigurationError, InputError, PortcullisError
from service.domain.secrets import Secret
from tests.unit.service.domain.test_approval import NOW, POLICY, an_item
from tests.unit.service.domain.test_policy import PEM

PRIVATE = rsa.generate_private_key(65537, 2048)
BALLOTS = PRIVATE.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
DOCUMENT = propose(Draft([an_item()], "It drains.", "portcullis"), POLICY, NOW)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty home: no installation is on this machine."""
    monkeypatch.setenv("PORTCULLIS_HOME", str(tmp_path))
    monkeypatch.delenv(BALLOTS_VARIABLE, raising=False)
    (tmp_path / "public").mkdir()
    return tmp_path


def opened(text: str, bound: bytes) -> bytes:
    envelope = Envelope.parse(from_text(text))
    return open_with_key(envelope, PRIVATE.decrypt(envelope.wrapped, oaep_sha1()), bound)


def approving(monkeypatch: pytest.MonkeyPatch, sent: list[httpx.Request], *options: str) -> PortcullisError | None:
    """Run `portcullis approve` against an API that shows the document and keeps what it is sent."""

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        if request.method == "POST":
            return httpx.Response(403, json={"code": "forbidden", "detail": "enough for a test"})
        shown = {
            "document": DOCUMENT.text,
            "digest": DOCUMENT.digest,
            "check_code": check_code(DOCUMENT.digest, "per_1"),
        }
        return httpx.Response(200, json={"id": "per_1"} if request.url.path == "/v1/people/me" else shown)

    client = ApiClient(Secret("pcl_x"), "http://api", httpx.MockTransport(answer))
    monkeypatch.setattr(approve, "ApiClient", lambda _token: client)
    monkeypatch.setenv("PORTCULLIS_API_TOKEN", "pcl_x")
    app = typer.Typer()
    app.command()(approve.approve)
    typed = ["--check", check_code(DOCUMENT.digest, "per_1"), "--code", "654321"]
    error = CliRunner().invoke(app, [DOCUMENT.id, *typed, *options]).exception
    return error if isinstance(error, PortcullisError) else None


@pytest.mark.parametrize(("options", "decision"), [((), "approve"), (("--deny",), "deny")])
def test_a_vote_leaves_sealed_for_what_was_shown(
    monkeypatch: pytest.MonkeyPatch, home: Path, options: tuple[str, ...], decision: str
) -> None:
    (home / "public" / "authority-ballots.pem").write_bytes(BALLOTS)
    sent: list[httpx.Request] = []
    error = approving(monkeypatch, sent, *options)
    assert error is not None
    assert error.code == "forbidden"
    body = sent[-1].read()
    assert not any(
        told in body for told in (b"654321", b"approve", b"deny", check_code(DOCUMENT.digest, "per_1").encode())
    )
    (text,) = json.loads(body).values()
    paper = read_paper(opened(text, associated_data(BALLOT_TAG, "per_1", DOCUMENT.digest)), BallotPaper)
    assert (paper.code, paper.decision) == ("654321", decision)


def test_without_a_key_nothing_is_asked_or_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[httpx.Request] = []
    error = approving(monkeypatch, sent)
    assert isinstance(error, ConfigurationError)
    assert "public/authority-ballots.pem" in str(error)
    assert "never from the API" in str(error)
    assert sent == []


def test_a_key_is_of_the_option_the_environment_or_the_installation_here(
    monkeypatch: pytest.MonkeyPatch, home: Path
) -> None:
    places = {name: home / name for name in ("option", "environment")}
    places["here"] = home / "public" / "authority-ballots.pem"
    for name, path in places.items():
        path.write_text(name)
    assert ballot_key(None) == b"here"
    monkeypatch.setenv(BALLOTS_VARIABLE, str(places["environment"]))
    assert ballot_key(None) == b"environment"
    assert ballot_key(places["option"]) == b"option"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        ballot_key(home / "absent")


def test_the_vote_key_is_no_ballot_key() -> None:
    with pytest.raises(ConfigurationError, match=r"give authority-ballots\.pem"):
        sealed_text(PEM, b"paper", b"use")


def enrolling(answer_with: bytes | None) -> ApiClient:
    """An API that answers an enrolment under the key of the question, or under one of its own."""

    def answer(request: httpx.Request) -> httpx.Response:
        question = json.loads(request.read())["sealed"]
        key = answer_with or opened(question, associated_data(ENROLMENT_TAG, "per_1"))
        reply = seal_reply(key, b'{"otpauth_uri":"otpauth://x"}', associated_data(ENROLMENT_ANSWER_TAG, "per_1"))
        return httpx.Response(200, json={"sealed": to_text(reply)})

    return ApiClient(Secret("pcl_x"), "http://api", httpx.MockTransport(answer))


def test_an_enrolment_code_comes_from_the_authority_or_the_alarm_is_raised() -> None:
    with enrolling(None) as api:
        assert enrolment_uri(api, BALLOTS, "per_1", bytes(KEY_BYTES)) == "otpauth://x"
    with enrolling(bytes(KEY_BYTES)) as api, pytest.raises(ApprovalError, match="Raise the alarm"):
        enrolment_uri(api, BALLOTS, "per_1", b"\x01" * KEY_BYTES)


def test_a_prepared_key_is_kept_for_oneself_and_its_code_is_read_out(tmp_path: Path) -> None:
    file = tmp_path / "enrolment.key"
    done = CliRunner().invoke(app, ["prepare", str(file)])
    assert done.exit_code == 0, done.output
    assert file.stat().st_mode & 0o777 == 0o600
    key = read_client_key(file)
    assert read_client_code(f" {done.stdout.upper()} ".strip()) == client_code(key)
    with pytest.raises(ConfigurationError, match="name a new file"):
        app(["prepare", str(file)], standalone_mode=False)
    assert read_client_key(file) == key
    assert read_client_key(None) != read_client_key(None)
    file.write_bytes(key[1:])
    with pytest.raises(ConfigurationError, match="people prepare"):
        read_client_key(file)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_client_key(tmp_path / "elsewhere")


@given(st.binary(min_size=KEY_BYTES, max_size=KEY_BYTES))
def test_a_code_survives_being_read_out(key: bytes) -> None:
    code = client_code(key)
    assert read_client_code("-".join(code[at : at + 4] for at in range(0, 24, 4)).upper()) == code


@pytest.mark.parametrize("text", ["", "mfra", "1" * 24, "a" * 25, "ä" * 24])
def test_what_is_no_code_is_refused(text: str) -> None:
    with pytest.raises(InputError) as refused:
        read_client_code(text)
    assert refused.value.field == "client"
