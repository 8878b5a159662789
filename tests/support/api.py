"""The API for tests: the whole ASGI application over a real database under the API's own role, and a token per role."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from service.api.auth import Authenticator, stored_tokens
from service.api.deps import ApiParts
from service.api.issued import Grant, issue_token
from service.asgi import Portcullis, create_api
from service.config import Settings
from service.domain.quorum import Role
from service.domain.secrets import Secret
from service.ports.clock import Clock
from service.store.database import SqlDatabase, create
from tests.support.servers import url_of_role

API_ROLE = "portcullis_api"


@dataclass
class RecordingAuthority:
    """Implements `Authority`: notes what was asked and answers with an empty object."""

    asked: list[tuple[str, Mapping[str, object]]] = field(default_factory=list)

    def call(self, path: str, body: Mapping[str, object]) -> Mapping[str, object]:
        self.asked.append((path, body))
        return {}


async def no_intake(_scope: Any, _receive: Any, send: Any) -> None:
    """Stands where intake would: whatever gets here is answered 204."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@dataclass
class ApiWorld:
    """One API with its database."""

    parts: ApiParts
    api: Any
    app: Portcullis
    database: SqlDatabase
    """The same database under the superuser, for what tests lay out and look up."""
    tokens: dict[tuple[Role, str | None], str] = field(default_factory=dict)

    def token(self, role: Role, person: str | None = None) -> str:
        if (role, person) not in self.tokens:
            with self.parts.database.begin() as uow:
                connection = "con-a" if role is Role.INGEST else None
                grant = Grant(role, f"{role.value} of tests", "tests", person=person, connection=connection)
                self.tokens[role, person] = issue_token(uow, grant)
        return self.tokens[role, person]

    def call(
        self, method: str, path: str, role: Role | None = None, *, person: str | None = None, **more: Any
    ) -> httpx.Response:
        """Send one request, as the holder of a role's token or as nobody."""
        headers = dict(more.pop("headers", {}))
        client = more.pop("client", ("192.0.2.1", 4711))
        if role is not None:
            headers["authorization"] = f"Bearer {self.token(role, person)}"

        async def send() -> httpx.Response:
            transport = httpx.ASGITransport(self.app, client=client)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as sender:
                return await sender.request(method, path, headers=headers, **more)

        return asyncio.run(send())

    def get(self, path: str, role: Role | None = Role.VIEWER, **query: Any) -> Any:
        """GET a document that must be there."""
        answer = self.call("GET", path, role, params=query)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def close(self) -> None:
        self.parts.database.engine.dispose()
        self.database.engine.dispose()


def settings_for(folder: Path) -> Settings:
    return Settings(
        process="api",
        home=folder,
        database_url=Secret("postgresql://unused"),
        authority_socket=folder / "authority.sock",
        token=None,
    )


def api_on(url: str, clock: Clock, folder: Path, authority: Any = None) -> ApiWorld:
    database = SqlDatabase(create(Secret(url_of_role(url, API_ROLE)), pool_size=2), clock)
    parts = ApiParts(
        settings=settings_for(folder),
        database=database,
        authenticator=Authenticator(stored_tokens(database.engine), now=clock.now),
        authority=authority or RecordingAuthority(),
        clock=clock,
    )
    api = create_api(parts)
    return ApiWorld(parts, api, Portcullis(no_intake, api), SqlDatabase(create(Secret(url), pool_size=2), clock))


def problem(answer: httpx.Response) -> dict[str, Any]:
    """Return the problem in an answer, after checking that it is one (RFC 9457)."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found: dict[str, Any] = answer.json()
    assert found["status"] == answer.status_code
    assert found["type"] == f"urn:portcullis:problem:{found['code']}"
    assert found["title"]
    assert found["detail"]
    return found
