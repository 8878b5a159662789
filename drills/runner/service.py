"""The drill's side of Portcullis: plain HTTP with API tokens, as any outsider would.

Rules: an answer that is no success becomes an ApiError that carries the problem's own words; a token is never shown.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from drills.runner.errors import ApiError
from drills.runner.events import Told, parse

TIMEOUT = httpx.Timeout(30.0, connect=5.0)
STREAM_TIMEOUT = httpx.Timeout(None, connect=5.0)
MAX_PAGES = 100
Json = dict[str, Any]


class Service:
    """One installation. Each call names the token of who makes it."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._client = httpx.Client(base_url=self.url, timeout=TIMEOUT, trust_env=False)

    def get(self, path: str, token: str, **query: str) -> Json:
        """GET one JSON object."""
        return self._json("GET", path, token, params=query)

    def post(self, path: str, token: str, body: Mapping[str, object] | None = None) -> Json:
        """POST a JSON object and return the answer's."""
        return self._json("POST", path, token, json=body or {})

    def pages(self, path: str, token: str, **query: str) -> Iterator[Json]:
        """Yield the items of all pages of a list."""
        cursor: dict[str, str] = {}
        for _ in range(MAX_PAGES):
            found = self.get(path, token, **query, **cursor)
            yield from found["items"]
            if not found.get("next"):
                return
            cursor = {"cursor": str(found["next"])}

    def text(self, path: str, token: str) -> str:
        """GET a page as text."""
        return self._send("GET", path, token).text

    def history(self, token: str, lines: list[bytes]) -> Iterator[Json]:
        """Send activities as history; yield one answer per line."""
        answer = self._send(
            "POST",
            "/v1/activities",
            token,
            params={"mode": "history"},
            content=b"".join(lines),
            headers={"Content-Type": "application/x-ndjson"},
        )
        decoder = httpx.Response(200, content=answer.content)
        for line in decoder.iter_lines():
            if line:
                yield httpx.Response(200, content=line.encode()).json()

    @contextmanager
    def events(self, token: str, after: str = "") -> Iterator[Iterator[Told]]:
        """Listen to what happens, from now or from after an event's number."""
        headers = {"Authorization": f"Bearer {token}", **({"Last-Event-ID": after} if after else {})}
        try:
            with self._client.stream("GET", "/v1/events", headers=headers, timeout=STREAM_TIMEOUT) as answer:
                if not answer.is_success:
                    raise ApiError(f"GET /v1/events: {answer.status_code}", answer.status_code)
                yield parse(answer.iter_lines())
        except httpx.HTTPError as error:
            raise ApiError(f"the stream of events broke: {type(error).__name__}", 0) from None

    def _json(self, method: str, path: str, token: str, **more: Any) -> Json:
        answer = self._send(method, path, token, **more)
        found: Json = answer.json() if answer.content else {}
        return found

    def _send(self, method: str, path: str, token: str, **more: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}
        try:
            answer = self._client.request(method, path, headers=headers, **more)
        except httpx.HTTPError as error:
            raise ApiError(f"Portcullis did not answer {method} {path}: {type(error).__name__}", 0) from None
        if not answer.is_success:
            raise ApiError(f"{method} {path}: {_problem(answer)}", answer.status_code)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()


def _problem(answer: httpx.Response) -> str:
    try:
        found = answer.json()
    except ValueError:
        return f"status {answer.status_code}"
    field = f" (field {found['field']})" if found.get("field") else ""
    return f"{found.get('detail') or found.get('title') or answer.status_code}{field}"
