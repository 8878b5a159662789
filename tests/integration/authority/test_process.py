"""The authority as its own process behind its socket, the API in front: from set-up to an authorised step, by HTTP."""

import json
import re
import resource
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import httpx
import pyotp
import pytest
import typer
from sqlalchemy import text
from typer.testing import CliRunner

from service.api.authority_client import UnixSocketAuthority
from service.clock import SystemClock
from service.commands import approve, people, setup
from service.config import Settings
from service.domain.approval import Draft, check_code, parse, step_item
from service.domain.authorisation import check
from service.domain.errors import ConfigurationError, UnavailableError
from service.domain.ids import AccountId, ApprovalId
from service.domain.secrets import Secret
from service.domain.setup import destination_in_force
from service.store.database import SqlDatabase, create
from tests.support.authority import EVERYTHING, SETUP_TOKEN, a_step
from tests.support.authority_process import Installation, api_in_thread
from tests.support.servers import url_of_role

pytestmark = pytest.mark.servers

COMMANDS = typer.Typer()
COMMANDS.command()(approve.approve)
COMMANDS.command()(approve.approvals)
COMMANDS.command()(setup.setup)
BODY = {"people": [{"name": "M", "email": "m@example.org", "roles": ["admin"]}], "sealed": "UENTMQGA"}


def shows(body: bytes, secret: str) -> bool:
    """Whether a word stands in what was heard by itself: six digits may well be part of a time or of sealed bytes."""
    return re.search(rb"(?<![\w.+/-])" + re.escape(secret.encode()) + rb"(?![\w+/=-])", body) is not None


@pytest.fixture(scope="module")
def shared_api(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's routes without an authority: for callers who must not get that far."""
    home = tmp_path_factory.mktemp("home")
    url = Secret(url_of_role(postgres_url, "portcullis_api"))
    with api_in_thread(Settings("api", home, url, home / "nobody.sock", None), []) as address:
        yield address


def test_from_set_up_to_an_authorised_step(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, _three = installation.set_up_people()
    assert installation.post("/v1/setup/complete", SETUP_TOKEN, {}).status_code == 200
    again = installation.post("/v1/setup/policy", SETUP_TOKEN, {"changes": {}})
    assert (again.status_code, again.json()["code"]) == (401, "unauthenticated")

    step = a_step()
    worker = Secret(url_of_role(installation.superuser_url, "portcullis_containment"))
    database = SqlDatabase(create(worker, pool_size=1), SystemClock())
    with database.begin() as uow:
        document = uow.approvals.propose(Draft([step_item(step, "Sweep hot-1.")], "It drains.", "portcullis"))

    shown = installation.get(f"/v1/approvals/{document.id}", installation.tokens[one]).json()
    assert parse(shown["document"]).digest == shown["digest"] == document.digest
    assert shown["check_code"] == check_code(document.digest, one)
    installation.heard.clear()
    first = installation.votes(document.id, one)
    assert (first.status_code, first.json()["state"]) == (201, "waiting"), first.text

    monkeypatch.setenv("PORTCULLIS_API_URL", installation.api_url)
    monkeypatch.setenv("PORTCULLIS_API_TOKEN", installation.tokens[two])
    key = str(installation.public("authority-votes.pem"))
    code = installation.code(two)
    typed = ["--check", check_code(document.digest, two), "--code", code, "--key", key]
    monkeypatch.setenv("PORTCULLIS_HOME", str(installation.home / "none"))
    without = CliRunner().invoke(COMMANDS, ["approve", document.id, *typed])
    assert isinstance(without.exception, ConfigurationError)
    assert "authority-ballots.pem" in str(without.exception)
    typed += ["--ballot-key", str(installation.public("authority-ballots.pem"))]
    ran = CliRunner().invoke(COMMANDS, ["approve", document.id, *typed])
    assert ran.exit_code == 0, ran.output
    assert "the authority signed exactly what you read" in " ".join(ran.output.split())
    assert "approved" in ran.output
    sent = [body for body in installation.heard if b'"sealed"' in body]
    assert len(sent) == 4, "two votes, each heard from the person and on its way to the authority"
    for secret in (code, installation.phones[one].generate_otp(installation.used[one]), "approve", "check_code"):
        assert not any(shows(body, secret) for body in sent)
    assert not any(shows(body, code) for body in installation.heard)

    with database.begin() as uow:
        evidence = uow.approvals.evidence(ApprovalId(document.id))
        pinned = installation.public("authority-votes.pem").read_bytes()
        assert check(evidence, step, public_key_pem=pinned, now=uow.now).digest == document.digest
    database.engine.dispose()


def test_people_and_changes_over_http(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = installation.set_up_people()
    installation.post("/v1/setup/complete", SETUP_TOKEN, {})
    monkeypatch.setenv("PORTCULLIS_API_URL", installation.api_url)
    monkeypatch.setenv("PORTCULLIS_API_TOKEN", installation.tokens[one])
    runner = CliRunner()
    added = runner.invoke(
        people.app, ["add", "Ada", "--email", "ada@example.org", "--role", "responder"], catch_exceptions=False
    )
    assert added.exit_code == 0, added.output
    waiting = runner.invoke(COMMANDS, ["approvals", "--json"])
    approval = json.loads(waiting.output)["items"][0]["id"]
    for person in (two, three):
        voted = installation.votes(approval, person)
        assert voted.status_code == 201, voted.text
    after = installation.get(f"/v1/approvals/{approval}", installation.tokens[one]).json()
    assert after["state"] == "executed"
    listed = json.loads(runner.invoke(people.app, ["list", "--json"]).output)["items"]
    assert [p["votes"] for p in listed if p["name"] == "Ada"] == [False]
    refused = installation.post(f"/v1/people/{two}/suspend", installation.tokens[one], {})
    assert refused.json()["code"] == "forbidden"


def test_a_person_enrols_without_the_api_seeing_seed_or_code(
    installation: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = installation.set_up_people()
    installation.post("/v1/setup/complete", SETUP_TOKEN, {})
    body = {"why": "A new phone."}
    asked = installation.post(f"/v1/people/{one}/factor", installation.tokens[two], body).json()
    for person in (one, three):
        assert installation.votes(asked["id"], person).status_code == 201

    drawn: list[str] = []
    typed: list[str] = []

    def draw(uri: str) -> str:
        drawn.append(parse_qs(urlparse(uri).query)["secret"][0])
        return ""

    def look_at_the_phone(_question: str) -> str:
        typed.append(pyotp.TOTP(drawn[0]).now())
        return typed[0]

    monkeypatch.setattr(people, "terminal_code", draw)
    monkeypatch.setattr(typer, "prompt", look_at_the_phone)
    monkeypatch.setenv("PORTCULLIS_API_URL", installation.api_url)
    monkeypatch.setenv("PORTCULLIS_API_TOKEN", installation.tokens[one])
    monkeypatch.setenv("PORTCULLIS_HOME", str(installation.home))
    installation.heard.clear()
    ran = CliRunner().invoke(people.app, ["enrol"], catch_exceptions=False)
    assert "Your factor is confirmed" in ran.output
    for secret in (*drawn, *typed, "otpauth"):
        assert not any(shows(body, secret) for body in installation.heard)


def test_accounts_are_registered_with_signed_destinations(installation: Installation) -> None:
    installation.set_up_people()
    connection = {"id": "main", "platform": "standard", "name": "Main", "settings": {}}
    authority = UnixSocketAuthority(installation.settings.authority_socket)
    authority.call("/setup/connections", {"token": SETUP_TOKEN, "connections": [connection]})
    authority.close()
    safe = {"chain": "eip155:1", "descriptor": "0x" + "ab" * 20}
    account = {"connection": "main", "ref": "hot-1", "holder": "vault_key", "safe_destinations": [safe]}
    registered = installation.post("/v1/setup/accounts", SETUP_TOKEN, {"accounts": [account]})
    assert registered.status_code == 200, registered.text
    account_id = registered.json()["accounts"][0]["id"]
    assert installation.post("/v1/setup/accounts", SETUP_TOKEN, {"accounts": [account]}).status_code == 409
    assert installation.post("/v1/setup/complete", SETUP_TOKEN, {}).status_code == 200

    worker = Secret(url_of_role(installation.superuser_url, "portcullis_keys"))
    database = SqlDatabase(create(worker, pool_size=1), SystemClock())
    pinned = installation.public("authority-votes.pem").read_bytes()
    with database.begin() as uow:
        statements = [row.registered for row in uow.registry.destinations(AccountId(account_id))]
        found = destination_in_force(statements, account_id, "eip155:1", public_key_pem=pinned, now=uow.now)
        events = uow.connection.execute(text("SELECT payload FROM outbox WHERE event = 'account_registered'")).scalars()
        assert [payload["account_id"] for payload in events] == [account_id]
    database.engine.dispose()
    assert found is not None
    assert found.descriptor == safe["descriptor"]


def test_the_command_sets_up_people_and_accounts_from_one_file(
    installation: Installation, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = {
        "people": [{"name": f"P{n}", "email": f"p{n}@example.org", "roles": list(EVERYTHING)} for n in range(3)],
        "connections": [{"id": "main", "platform": "standard", "name": "Main", "settings": {}}],
        "accounts": [{"connection": "main", "ref": "hot-1", "holder": "platform"}],
    }
    (tmp_path / "first.yaml").write_text(json.dumps(plan))
    (tmp_path / "token").write_text(SETUP_TOKEN)
    handover = tmp_path / "handover.json"
    wrong = ["12345x"]

    def typed(question: str) -> str:
        if wrong:
            return wrong.pop()
        shown = json.loads(handover.read_text())["people"]
        person = next(one for one in shown if question.endswith(one["name"]))
        secret = parse_qs(urlparse(person["otpauth_uri"]).query)["secret"][0]
        installation.phones[person["person"]] = pyotp.TOTP(secret)
        return installation.code(person["person"])

    monkeypatch.setattr(typer, "prompt", typed)
    monkeypatch.setenv("PORTCULLIS_API_URL", installation.api_url)
    options = ["--token-file", str(tmp_path / "token"), "--secrets-to", str(handover)]
    ran = CliRunner().invoke(COMMANDS, ["setup", str(tmp_path / "first.yaml"), *options], catch_exceptions=False)
    assert ran.exit_code == 0, ran.output
    assert "the code is wrong" in ran.output
    assert "Account main/hot-1 is acc_" in ran.output
    assert "Set-up is complete" in ran.output
    assert installation.post("/v1/setup/complete", SETUP_TOKEN, {}).status_code == 401


def test_the_authority_says_which_protection_of_its_memory_is_missing(installation: Installation) -> None:
    limited = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] != resource.RLIM_INFINITY
    assert (installation.home / "log").read_text().count("LimitMEMLOCK") == int(limited)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/setup/people"),
        ("POST", "/v1/setup/complete"),
        ("GET", "/v1/approvals"),
        ("POST", "/v1/approvals/apr_1/votes"),
        ("GET", "/v1/people"),
        ("POST", "/v1/people/per_1/suspend"),
        ("POST", "/v1/people/me/enrol"),
    ],
)
def test_the_anonymous_caller_gets_nothing(shared_api: str, method: str, path: str) -> None:
    answer = httpx.request(method, shared_api + path, json=BODY)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


def test_an_authority_that_is_not_there_is_unavailable(tmp_path: Path) -> None:
    client = UnixSocketAuthority(tmp_path / "nobody.sock")
    with pytest.raises(UnavailableError, match="not there"):
        client.call("/health", {})
    client.close()
