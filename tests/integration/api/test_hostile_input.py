"""Whatever is sent to whichever route by whoever may call it: never an error of ours, always a problem or an answer."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from fastapi.routing import APIRoute

from service.api.deps import ApiParts
from service.asgi import Portcullis, create_api, roles_of, routes
from service.domain.errors import UnauthenticatedError
from service.domain.quorum import Role
from tests.support.api import ApiWorld, no_intake, problem
from tests.support.authority import House

IDS = ("a%00b", "%F0%9F%92%A9", "..%2F..%2Ftokens", "x" * 3000, "%27%20OR%201=1--", "%C3%28")
BODIES: tuple[Any, ...] = (
    None,
    [],
    "text",
    1e308,
    {},
    {"\x00": "\x00"},
    {"why": "\x00", "action": "\x00", "params": {"a": "\x00"}, "person": "\x00", "verdict": "\x00"},
    {"why": "w", "action": "change.person.add", "params": {"a": {"b": [None, 10**40, "\u202e"]}}},
    {"why": "w", "roles": ["admin"] * 11, "name": "n" * 5000, "email": "\x00@x"},
    {"why": "w", "name": "\x00x", "email": "e@x", "roles": ["admin"]},
    {"decision": "approve", "check_code": "\x00" * 8, "code": "000000"},
    {"code": "123456"},
)


class Refusing:
    """An authority that refuses everything."""

    def call(self, path: str, body: Mapping[str, object]) -> Mapping[str, object]:
        raise UnauthenticatedError(f"refused: {path}, {len(body)}")


@pytest.fixture(scope="module")
def guarded(world: ApiWorld) -> ApiWorld:
    parts = world.parts
    api = create_api(ApiParts(parts.settings, parts.database, parts.authenticator, Refusing(), parts.clock))
    return ApiWorld(parts, api, Portcullis(no_intake, api), world.database, world.tokens)


def addresses(route: APIRoute) -> list[str]:
    if "{" not in route.path:
        return [route.path]
    found = []
    for identity in IDS:
        path = route.path
        for name in route.param_convertors:
            path = path.replace(f"{{{name}}}", identity)
        found.append(path)
    return found


@pytest.mark.parametrize(
    ("method", "route"),
    [pytest.param(m, r, id=f"{m} {r.path}") for m, r in routes() if r.path != "/v1/events"],
)
def test_hostile_input_is_answered_with_a_problem(
    guarded: ApiWorld, house: House, method: str, route: APIRoute
) -> None:
    role = Role.ADMIN if roles_of(route) else None
    headers = {} if role else {"authorization": "Bearer guessed"}
    headers["content-type"] = "application/json"
    sent = [b""] if method in {"GET", "DELETE"} else [json.dumps(body).encode() for body in BODIES]
    for path in addresses(route):
        for body in sent:
            answer = guarded.call(
                method, path, role, person=min(house.phones) if role else None, content=body, headers=headers
            )
            assert answer.status_code < 500, (path, body, answer.text)
            if answer.status_code >= 400:
                problem(answer)
