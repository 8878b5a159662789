"""The authority as its own process behind its socket, the API in front: from set-up to an authorised step, by HTTP."""

import hashlib
import json
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import httpx
import pyotp
import pytest
import typer
import uvicorn
from fastapi import FastAPI, Request, Response
from sqlalchemy import text
from typer.testing import CliRunner

from hsm.power import Power
from hsm.uri import Pkcs11Uri
from service.api.auth import Authenticator, stored_tokens
from service.api.authority_client import UnixSocketAuthority
from service.api.deps import ApiParts
from service.api.problems import problem_of
from service.api.routers import approvals as approval_routes
from service.api.routers import people as people_routes
from service.api.routers import setup as setup_routes
from service.clock import SystemClock
from service.commands import approve, people, setup
from service.config import Settings
from service.domain.approval import Draft, check_code, parse, step_item
from service.domain.authorisation import check
from service.domain.errors import PortcullisError, UnavailableError
from service.domain.ids import AccountId, ApprovalId
from service.domain.secrets import Secret
from service.domain.setup import destination_in_force
from service.runtime.accounts import myself
from service.store.database import SqlDatabase, create
from tests.integration.hsm.tokens import set_up
from tests.support.authority import EVERYTHING, SETUP_TOKEN, a_step
from tests.support.servers import SoftHsm, short_folder, url_of_role

pytestmark = pytest.mark.servers

COMMANDS = typer.Typer()
COMMANDS.command()(approve.approve)
COMMANDS.command()(approve.approvals)
COMMANDS.command()(setup.setup)
START_TIMEOUT_S = 60.0
LABEL = "authority-process"
BODY = {
    "people": [{"name": "M", "email": "m@example.org", "roles": ["admin"]}],
    "decision": "approve",
    "check_code": "AAAAAAAA",
    "code": "123456",
}


@dataclass
class Installation:
    """Where the two processes are, and the people of the set-up."""

    home: Path
    superuser_url: str
    settings: Settings
    api_url: str = ""
    tokens: dict[str, str] = field(default_factory=dict)
    phones: dict[str, pyotp.TOTP] = field(default_factory=dict)
    used: dict[str, int] = field(default_factory=dict)

    def post(self, path: str, token: str, body: object) -> httpx.Response:
        return httpx.post(self.api_url + path, json=body, headers={"authorization": f"Bearer {token}"}, timeout=30)

    def get(self, path: str, token: str) -> httpx.Response:
        return httpx.get(self.api_url + path, headers={"authorization": f"Bearer {token}"}, timeout=30)

    def code(self, person: str) -> str:
        """A code not used before: three are good at any moment, so nobody waits."""
        earliest = int(time.time()) // 30 - 1
        self.used[person] = max(earliest, self.used.get(person, 0) + 1)
        return self.phones[person].generate_otp(self.used[person])


@contextmanager
def authority_process(home: Path, url: str, uri: str, conf: Path) -> Iterator[None]:
    env = {
        "PATH": os.environ["PATH"],
        "PORTCULLIS_PROCESS": "authority",
        "PORTCULLIS_HOME": str(home),
        "PORTCULLIS_DATABASE_URL": url,
        "PORTCULLIS_TOKEN_URI": uri,
        "PORTCULLIS_SOFTHSM2_CONF": str(conf),
        "PORTCULLIS_SETUP_TOKEN_FILE": str(home / "setup-token.sha256"),
        "PORTCULLIS_AUTHORITY_SOCKET": str(home / "a.sock"),
    }
    log = home / "log"
    with log.open("wb") as out:
        process = subprocess.Popen([sys.executable, "-m", "service.authority"], env=env, stdout=out, stderr=out)
    try:
        ready = home / "run" / "ready" / "authority"
        deadline = time.monotonic() + START_TIMEOUT_S
        while not (ready.exists() and ready.read_text().strip() == str(process.pid)):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        assert process.wait(timeout=20) == 0, log.read_text()


def routes_of(parts: ApiParts) -> FastAPI:
    """The three routers of this part alone, with errors told as the whole API tells them."""
    api = FastAPI()
    api.state.parts = parts
    for module in (approval_routes, people_routes, setup_routes):
        api.include_router(module.router)

    async def told(_request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        return Response(problem.body, status_code=problem.status, media_type="application/problem+json")

    api.add_exception_handler(PortcullisError, told)
    return api


@contextmanager
def api_in_thread(settings: Settings) -> Iterator[str]:
    database = SqlDatabase(create(settings.database_url, pool_size=3), SystemClock())
    authority = UnixSocketAuthority(settings.authority_socket)
    parts = ApiParts(
        settings=settings,
        database=database,
        authenticator=Authenticator(stored_tokens(database.engine)),
        authority=authority,
        clock=SystemClock(),
    )
    server = uvicorn.Server(uvicorn.Config(routes_of(parts), log_config=None, lifespan="off"))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()
            authority.close()
            database.engine.dispose()


@pytest.fixture
def installation(fresh_postgres_url: str, softhsm: SoftHsm) -> Iterator[Installation]:
    with short_folder(myself()) as home:
        config = home / "token"
        config.mkdir(mode=0o700)
        set_up(softhsm.module, softhsm.configuration, config, Power.AUTHORITY, f"{LABEL}-{home.name}")
        query = (("module-path", str(softhsm.module)), ("pin-source", f"file:{config / 'pin'}"))
        uri = str(Pkcs11Uri((("token", f"{LABEL}-{home.name}"),), query))
        (home / "public").mkdir()
        (home / "setup-token.sha256").write_text(hashlib.sha256(SETUP_TOKEN.encode()).hexdigest())
        settings = Settings(
            process="api",
            home=home,
            database_url=Secret(url_of_role(fresh_postgres_url, "portcullis_api")),
            authority_socket=home / "a.sock",
            token=None,
        )
        found = Installation(home, fresh_postgres_url, settings)
        role_url = url_of_role(fresh_postgres_url, "portcullis_authority")
        with authority_process(home, role_url, uri, softhsm.configuration), api_in_thread(settings) as url:
            found.api_url = url
            yield found


@pytest.fixture(scope="module")
def shared_api(postgres_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API's routes without an authority: for callers who must not get that far."""
    home = tmp_path_factory.mktemp("home")
    url = Secret(url_of_role(postgres_url, "portcullis_api"))
    with api_in_thread(Settings("api", home, url, home / "nobody.sock", None)) as address:
        yield address


def set_up_people(installation: Installation) -> list[str]:
    people_in = [{"name": f"P{n}", "email": f"p{n}@example.org", "roles": list(EVERYTHING)} for n in range(3)]
    answer = installation.post("/v1/setup/people", SETUP_TOKEN, {"people": people_in})
    assert answer.status_code == 200, answer.text
    for person in answer.json()["people"]:
        name = person["person"]
        installation.tokens[name] = person["api_token"]
        secret = parse_qs(urlparse(person["otpauth_uri"]).query)["secret"][0]
        installation.phones[name] = pyotp.TOTP(secret)
        body = {"code": installation.code(name)}
        assert installation.post(f"/v1/setup/people/{name}/confirm", SETUP_TOKEN, body).status_code == 200
    return list(installation.tokens)


def test_from_set_up_to_an_authorised_step(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, _three = set_up_people(installation)
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
    body = {"decision": "approve", "check_code": shown["check_code"], "code": installation.code(one)}
    first = installation.post(f"/v1/approvals/{document.id}/votes", installation.tokens[one], body)
    assert (first.status_code, first.json()["state"]) == (201, "waiting"), first.text

    monkeypatch.setenv("PORTCULLIS_API_URL", installation.api_url)
    monkeypatch.setenv("PORTCULLIS_API_TOKEN", installation.tokens[two])
    key = str(installation.home / "public" / "authority-votes.pem")
    typed = ["--check", check_code(document.digest, two), "--code", installation.code(two), "--key", key]
    ran = CliRunner().invoke(COMMANDS, ["approve", document.id, *typed])
    assert ran.exit_code == 0, ran.output
    assert "the authority signed exactly what you read" in " ".join(ran.output.split())
    assert "approved" in ran.output

    with database.begin() as uow:
        evidence = uow.approvals.evidence(ApprovalId(document.id))
        pinned = (installation.home / "public" / "authority-votes.pem").read_bytes()
        assert check(evidence, step, public_key_pem=pinned, now=uow.now).digest == document.digest
    database.engine.dispose()


def test_people_and_changes_over_http(installation: Installation, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three = set_up_people(installation)
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
        shown = installation.get(f"/v1/approvals/{approval}", installation.tokens[person]).json()
        body = {"decision": "approve", "check_code": shown["check_code"], "code": installation.code(person)}
        voted = installation.post(f"/v1/approvals/{approval}/votes", installation.tokens[person], body)
        assert voted.status_code == 201, voted.text
    after = installation.get(f"/v1/approvals/{approval}", installation.tokens[one]).json()
    assert after["state"] == "executed"
    listed = json.loads(runner.invoke(people.app, ["list", "--json"]).output)["items"]
    assert [p["votes"] for p in listed if p["name"] == "Ada"] == [False]
    refused = installation.post(f"/v1/people/{two}/suspend", installation.tokens[one], {})
    assert refused.json()["code"] == "forbidden"


def test_accounts_are_registered_with_signed_destinations(installation: Installation) -> None:
    set_up_people(installation)
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
    pinned = (installation.home / "public" / "authority-votes.pem").read_bytes()
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
