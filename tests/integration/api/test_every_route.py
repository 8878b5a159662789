"""Every route there is, found by walking the application: the anonymous caller first, then the wrong role."""

from collections.abc import Iterator
from functools import cache
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from service.api.deps import ApiParts
from service.api.routers.setup import one_time_token
from service.api.schemas.common import Shown
from service.asgi import create_api, roles_of, routes
from service.domain.quorum import Role
from tests.support.api import ApiWorld, problem

OPEN = {("GET", "/v1/health")}
"""Answers anybody."""
NO_MODEL = ("/v1/approvals", "/v1/people", "/v1/setup")
"""Answers of these are free-form objects."""


@cache
def application() -> FastAPI:
    return create_api(cast("ApiParts", None))


def named(pairs: Iterator[tuple[str, APIRoute]]) -> list[Any]:
    return [pytest.param(method, route, id=f"{method} {route.path}") for method, route in pairs]


def needed(dependant: Dependant) -> Iterator[object]:
    yield dependant.call
    for inner in dependant.dependencies:
        yield from needed(inner)


def address(route: APIRoute) -> str:
    path = route.path
    for name in route.param_convertors:
        path = path.replace(f"{{{name}}}", "inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P")
    return path


PROTECTED = [pair for pair in routes() if (pair[0], pair[1].path) not in OPEN]
BY_ROLE = [(method, route) for method, route in PROTECTED if roles_of(route) is not None]


def test_the_walk_finds_the_routes() -> None:
    assert len(PROTECTED) > 40
    described = {(m.upper(), path) for path, methods in application().openapi()["paths"].items() for m in methods}
    assert {(method, route.path) for method, route in routes()} == described
    assert {route.path for _, route in BY_ROLE} >= {"/v1/alerts", "/v1/events", "/v1/tokens", "/v1/people"}


@pytest.mark.parametrize(("method", "route"), named(iter(PROTECTED)))
def test_the_anonymous_caller_is_refused(world: ApiWorld, method: str, route: APIRoute) -> None:
    answer = world.call(method, address(route))
    assert problem(answer)["code"] == "unauthenticated"
    assert answer.status_code == 401
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("method", "route"), named(iter(PROTECTED)))
def test_every_route_needs_a_role_or_the_one_time_token(method: str, route: APIRoute) -> None:
    assert method
    assert roles_of(route) or one_time_token in needed(route.dependant)


@pytest.mark.parametrize(("method", "route"), named(iter(BY_ROLE)))
def test_every_wrong_role_is_refused(world: ApiWorld, method: str, route: APIRoute) -> None:
    for role in sorted(frozenset(Role) - (roles_of(route) or frozenset())):
        answer = world.call(method, address(route), role)
        assert (answer.status_code, problem(answer)["code"]) == (403, "forbidden"), role


@pytest.mark.parametrize(("method", "route"), named(iter(routes())))
def test_every_route_is_described_with_schemas_and_examples(method: str, route: APIRoute) -> None:
    described = application().openapi()
    operation = described["paths"][route.path][method.lower()]
    assert operation["summary"]
    assert ((method, route.path) in OPEN) == ("security" not in operation or route.path.startswith("/v1/setup")) or (
        route.path.startswith("/v1/setup")
    )
    for name in schemas_in(operation.get("requestBody", {}), described):
        if not route.path.startswith(NO_MODEL):
            assert has_example(described["components"]["schemas"][name]), name
    if route.path.startswith(NO_MODEL) or route.status_code == 204:
        return
    content = operation["responses"][str(route.status_code or 200)]["content"]
    for media in content.values():
        assert "example" in media or media["schema"] == {"type": "string"} or list(schemas_in(media, described)), (
            content
        )


def schemas_in(part: Any, described: dict[str, Any]) -> Iterator[str]:
    if isinstance(part, dict):
        if "$ref" in part:
            yield str(part["$ref"]).rsplit("/", 1)[1]
        for value in part.values():
            yield from schemas_in(value, described)
    elif isinstance(part, list):
        for value in part:
            yield from schemas_in(value, described)


def has_example(schema: dict[str, Any]) -> bool:
    return bool(schema.get("examples")) or any("examples" in field for field in schema["properties"].values())


def classes(base: type[BaseModel]) -> Iterator[type[BaseModel]]:
    for one in base.__subclasses__():
        yield one
        yield from classes(one)


def test_the_examples_say_exactly_what_is_shown() -> None:
    checked = 0
    for shown in classes(Shown):
        extra = shown.model_config.get("json_schema_extra")
        examples = extra.get("examples") if isinstance(extra, dict) else None
        for example in examples if isinstance(examples, list) else []:
            assert isinstance(example, dict)
            shown.model_validate(example)
            assert set(example) | {"raw"} == set(shown.model_fields) | {"raw"}, shown.__name__
            checked += 1
    assert checked > 10
