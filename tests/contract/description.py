"""Holds recorded exchanges to an official API description (OpenAPI 3.0), with openapi-core.

Rules: a request is checked against the operation it hits: path, method, security, parameters, body; a query parameter
that the description does not know is a fault too. A response is checked by status, media type and schema, formats
included. The description is read where it lies and never copied.
"""

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import yaml
from openapi_core import OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict

HOST = "https://api.fireblocks.io"
"""The first server of the description; an exchange counts as if it had been sent there."""
MAX_SHOWN = 600


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request with its response, as the emulator's recorder writes them."""

    method: str
    path: str
    query: str
    asked: Mapping[str, Any]
    answered: Mapping[str, Any]

    @property
    def name(self) -> str:
        """What a person calls it."""
        return f"{self.method} {self.path} -> {self.answered['status']}"

    def with_answer(self, document: object) -> "Exchange":
        """Return the same exchange with another JSON answer."""
        return Exchange(self.method, self.path, self.query, self.asked, {**self.answered, "body": json.dumps(document)})

    def answer(self) -> Any:
        """Return the JSON answer."""
        return json.loads(self.answered["body"])


class _Asked:
    """A recorded request as openapi-core wants it; `parameters.path` is filled in by openapi-core."""

    def __init__(self, exchange: Exchange) -> None:
        headers = exchange.asked["headers"]
        self.host_url = HOST
        self.path = exchange.path
        self.method = exchange.method.lower()
        self.body = _bytes(exchange.asked["body"]) or None
        self.content_type = str(headers.get("content-type", "")).lower()
        self.parameters = RequestParameters(
            query=ImmutableMultiDict(parse_qsl(exchange.query, keep_blank_values=True)), header=Headers(headers)
        )


class _Answered:
    """A recorded response as openapi-core wants it."""

    def __init__(self, exchange: Exchange) -> None:
        self.status_code = int(exchange.answered["status"])
        self.headers = Headers(exchange.answered["headers"])
        self.content_type = str(exchange.answered["headers"].get("content-type", "")).lower()
        self.data = _bytes(exchange.answered["body"]) or None


class Description:
    """One official description."""

    def __init__(self, path: Path) -> None:
        self._document = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        self._api = OpenAPI.from_dict(self._document)

    def faults(self, exchange: Exchange) -> Iterator[str]:
        """Yield what of an exchange does not keep the description, one sentence each."""
        asked = _Asked(exchange)
        problems: list[tuple[str, object]] = [("request", error) for error in self._api.iter_request_errors(asked)]
        if not problems:
            known = self._query_names(exchange)
            unknown = sorted({name for name, _ in parse_qsl(exchange.query, keep_blank_values=True)} - known)
            problems += [("request", f"query parameter {name} is not described") for name in unknown]
        problems += [
            ("response", error) for error in self._api.iter_response_errors(_Asked(exchange), _Answered(exchange))
        ]
        for side, problem in problems:
            yield f"{exchange.name}: {side}: {_said(problem)}"

    def _query_names(self, exchange: Exchange) -> set[str]:
        fitting = [template for template in self._document["paths"] if _pattern(template).fullmatch(exchange.path)]
        item = self._document["paths"][min(fitting, key=lambda template: template.count("{"))]
        told = [*item.get("parameters", ()), *item[exchange.method.lower()].get("parameters", ())]
        return {one["name"] for one in map(self._resolved, told) if one["in"] == "query"}

    def _resolved(self, told: Mapping[str, Any]) -> Mapping[str, Any]:
        if "$ref" not in told:
            return told
        found = self._document
        for part in str(told["$ref"]).removeprefix("#/").split("/"):
            found = found[part]
        resolved: Mapping[str, Any] = found
        return resolved


def read_exchanges(path: Path) -> list[Exchange]:
    """Read what the emulator recorded."""
    return [
        Exchange(one["method"], one["path"], one["query"], one["request"], one["response"])
        for one in map(json.loads, path.read_text(encoding="utf-8").splitlines())
    ]


def _pattern(template: str) -> re.Pattern[str]:
    parts = (re.escape(part) if part[:1] != "{" else "[^/]+" for part in re.split(r"(\{[^}]*\})", template))
    return re.compile("/v1" + "".join(parts))


def _bytes(text: str) -> bytes:
    return base64.b64decode(text[7:]) if text.startswith("base64:") else text.encode()


def _said(problem: object) -> str:
    if isinstance(problem, str):
        return problem
    parts = [f"{type(problem).__name__}: {problem}"]
    cause = getattr(problem, "__cause__", None)
    errors = getattr(problem, "schema_errors", None) or getattr(cause, "schema_errors", None) or ()
    parts += [f"{error.json_path}: {error.message}" for error in errors]
    return "; ".join(parts)[:MAX_SHOWN]
