"""The authority as its own process, and the API's routes in front of it, in a thread that an attacker listens to."""

import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import parse_qs, urlparse

import httpx
import pyotp
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.middleware.base import RequestResponseEndpoint

from hsm.sealing import seal
from service.api.auth import Authenticator, stored_tokens
from service.api.authority_client import UnixSocketAuthority
from service.api.deps import ApiParts
from service.api.problems import problem_of
from service.api.routers import approvals as approval_routes
from service.api.routers import people as people_routes
from service.api.routers import setup as setup_routes
from service.clock import SystemClock
from service.config import Settings
from service.domain.ballot import BALLOT_TAG, BallotPaper, associated_data, filled, to_text
from service.domain.errors import PortcullisError
from service.store.database import SqlDatabase, create
from tests.support.authority import EVERYTHING, SETUP_TOKEN

START_TIMEOUT_S = 120.0
ON_ITS_WAY_S = 25
"""How long a call may be under way on a busy machine."""


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
    heard: list[bytes] = field(default_factory=list)
    """Every body that reached the API's process, from people or from the authority."""

    def public(self, name: str) -> Path:
        return self.home / "public" / name

    def votes(self, approval: str, person: str) -> httpx.Response:
        """Approve by plain HTTP, as a client of one's own would."""
        shown = self.get(f"/v1/approvals/{approval}", self.tokens[person]).json()
        paper = BallotPaper(check_code=shown["check_code"], code=self.code(person), decision="approve")
        bound = associated_data(BALLOT_TAG, person, shown["digest"])
        sealed = to_text(seal(self.public("authority-ballots.pem").read_bytes(), filled(paper), bound))
        return self.post(f"/v1/approvals/{approval}/votes", self.tokens[person], {"sealed": sealed})

    def post(self, path: str, token: str, body: object) -> httpx.Response:
        return httpx.post(self.api_url + path, json=body, headers={"authorization": f"Bearer {token}"}, timeout=30)

    def get(self, path: str, token: str) -> httpx.Response:
        return httpx.get(self.api_url + path, headers={"authorization": f"Bearer {token}"}, timeout=30)

    def code(self, person: str) -> str:
        """A code not used before, never one that is about to lapse: two are left at any moment, so nobody waits."""
        earliest = int(time.time() + ON_ITS_WAY_S) // 30 - 1
        self.used[person] = max(earliest, self.used.get(person, 0) + 1)
        return self.phones[person].generate_otp(self.used[person])

    def set_up_people(self) -> list[str]:
        """Register three people who may do everything, by the one-time token; returns their ids."""
        people_in = [{"name": f"P{n}", "email": f"p{n}@example.org", "roles": list(EVERYTHING)} for n in range(3)]
        answer = self.post("/v1/setup/people", SETUP_TOKEN, {"people": people_in})
        assert answer.status_code == 200, answer.text
        for person in answer.json()["people"]:
            name = person["person"]
            self.tokens[name] = person["api_token"]
            secret = parse_qs(urlparse(person["otpauth_uri"]).query)["secret"][0]
            self.phones[name] = pyotp.TOTP(secret)
            body = {"code": self.code(name)}
            assert self.post(f"/v1/setup/people/{name}/confirm", SETUP_TOKEN, body).status_code == 200
        return list(self.tokens)


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
        assert process.wait(timeout=240) == 0, log.read_text()


class Eavesdropper(UnixSocketAuthority):
    """What an attacker in the API's process hears of its talk with the authority."""

    def __init__(self, socket_path: Path, heard: list[bytes]) -> None:
        super().__init__(socket_path)
        self._heard = heard

    def call(self, path: str, body: Mapping[str, object]) -> Mapping[str, object]:
        self._heard.append(json.dumps(dict(body)).encode())
        answer = super().call(path, body)
        self._heard.append(json.dumps(dict(answer)).encode())
        return answer


def routes_of(parts: ApiParts, heard: list[bytes]) -> FastAPI:
    """The three routers of this part alone, with errors told as the whole API tells them."""
    api = FastAPI()

    @api.middleware("http")
    async def hear(request: Request, call_next: RequestResponseEndpoint) -> Response:
        heard.append(await request.body())
        return await call_next(request)

    api.state.parts = parts
    for module in (approval_routes, people_routes, setup_routes):
        api.include_router(module.router)

    async def told(_request: Request, error: Exception) -> Response:
        problem = problem_of(error)
        return Response(problem.body, status_code=problem.status, media_type="application/problem+json")

    api.add_exception_handler(PortcullisError, told)
    return api


@contextmanager
def api_in_thread(settings: Settings, heard: list[bytes]) -> Iterator[str]:
    database = SqlDatabase(create(settings.database_url, pool_size=3), SystemClock())
    authority = Eavesdropper(settings.authority_socket, heard)
    parts = ApiParts(
        settings=settings,
        database=database,
        authenticator=Authenticator(stored_tokens(database.engine)),
        authority=authority,
        clock=SystemClock(),
    )
    server = uvicorn.Server(uvicorn.Config(routes_of(parts, heard), log_config=None, lifespan="off"))
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
