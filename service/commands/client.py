"""Talking to the API from the command line: HTTP only (design D7), with a token from the environment or a file.

Rules: the token is read when it is needed and never printed; an answer that was lost is an unknown outcome, not a failure;
a problem document comes back as the error of its code, so that exit codes say the same everywhere.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Self
from urllib.parse import urlsplit

import httpx

from service.domain.errors import ConfigurationError, UnavailableError, UnknownOutcomeError, from_code
from service.domain.secrets import Secret

URL_VARIABLE: Final = "PORTCULLIS_API_URL"
TOKEN_VARIABLE: Final = "PORTCULLIS_API_TOKEN"  # noqa: S105  a variable's name
TOKEN_FILE_VARIABLE: Final = "PORTCULLIS_API_TOKEN_FILE"  # noqa: S105  a variable's name
DEFAULT_URL: Final = "http://127.0.0.1:8420"
TIMEOUT: Final = httpx.Timeout(30.0, connect=5.0)


def api_token(environ: Mapping[str, str] | None = None) -> Secret:
    """Return the caller's API token. Raises ConfigurationError that says where to put it."""
    env = os.environ if environ is None else environ
    if env.get(TOKEN_VARIABLE):
        return _token(env[TOKEN_VARIABLE], TOKEN_VARIABLE)
    path = env.get(TOKEN_FILE_VARIABLE, "")
    if not path:
        raise ConfigurationError(
            f"no API token: set {TOKEN_VARIABLE}, or {TOKEN_FILE_VARIABLE} to a file that holds it; `portcullis setup`"
            " shows each person's once"
        )
    try:
        return _token(Path(path).read_text(encoding="utf-8"), path)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{TOKEN_FILE_VARIABLE}: {path} cannot be read as a token") from error


def _token(text: str, place: str) -> Secret:
    told = text.strip()
    if not told.isascii() or not told.isprintable():
        raise ConfigurationError(f"{place} holds no API token: a token is one line of ASCII letters and digits")
    return Secret(told)


def fetch(path: str, **query: str) -> dict[str, Any]:
    """GET a JSON object with the caller's own token. Raises as `ApiClient.get`."""
    with ApiClient(api_token()) as api:
        return api.get(path, **query)


def send(path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
    """POST a JSON object with the caller's own token. Raises as `ApiClient.post`."""
    with ApiClient(api_token()) as api:
        return api.post(path, body)


class ApiClient:
    """One caller of the API. Use as a context manager."""

    def __init__(self, token: Secret, url: str | None = None, transport: httpx.BaseTransport | None = None) -> None:
        base = url or os.environ.get(URL_VARIABLE) or DEFAULT_URL
        parts = urlsplit(base)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigurationError(f"{URL_VARIABLE} is no address of an API: give http://HOST:PORT or https://HOST")
        headers = {"authorization": f"Bearer {token.reveal()}"}
        self._client = httpx.Client(base_url=base, headers=headers, timeout=TIMEOUT, transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._client.close()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """GET a JSON object. Raises the PortcullisError that the API answered with, or UnavailableError."""
        return self._send("GET", path, params=query)

    def post(self, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
        """POST a JSON object. Raises as `get`, and UnknownOutcomeError when the answer was lost."""
        return self._send("POST", path, json=dict(body or {}))

    def delete(self, path: str) -> dict[str, Any]:
        """DELETE. Raises as `post`."""
        return self._send("DELETE", path)

    def _send(self, method: str, path: str, **rest: Any) -> dict[str, Any]:
        try:
            answer = self._client.request(method, path, **rest)
            told = answer.json() if answer.content else {}
        except httpx.ConnectError as error:
            raise UnavailableError(
                f"no API answers at {self._client.base_url}: run `portcullis up`, or set {URL_VARIABLE}"
            ) from error
        except (httpx.HTTPError, ValueError) as error:
            if method == "GET":
                raise UnavailableError("the API's answer was lost: ask again") from error
            raise UnknownOutcomeError("the API's answer was lost: look before you try again") from error
        if answer.is_success and isinstance(told, dict):
            return told
        told = told if isinstance(told, dict) else {}
        message = str(told.get("detail") or f"the API answered {answer.reason_phrase}")
        raise from_code(str(told.get("code")), message, field=told.get("field"), retry_after_s=None)
