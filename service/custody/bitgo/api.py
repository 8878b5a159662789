"""One BitGo access token's API: requests and answers authenticated by HMAC (version 3), read as JSON.

Rules: an answer that BitGo's own HMAC does not cover is no answer: of a question nothing is known then, of a call the
outcome is unknown. BitGo takes no idempotency key, so a call is never repeated blindly (design D5). The token is unsealed
for each request and kept nowhere.
"""

import json
import time
from collections.abc import Mapping
from typing import Final

import httpx

from service.custody.base import paced_client, send
from service.custody.bitgo.hmac_auth import answer_is_genuine, request_headers
from service.domain.errors import MissingCapabilityError, UnavailableError, UnknownOutcomeError
from service.ports.custody import ConnectionConfig

BASE: Final = "api_base_url"
CALLS_PER_S: Final = 5.0
"""Calls a second; BitGo documents 360 a minute and user."""
TOKEN: Final = "access_token"  # noqa: S105  its name, not its value


class BitgoApi:
    """Asks and calls; raises what `service.custody.base.send` raises."""

    def __init__(self, config: ConnectionConfig, client: httpx.Client | None) -> None:
        self._config = config
        self._client = client or paced_client(config, CALLS_PER_S)

    def close(self) -> None:
        """Close the line to BitGo."""
        self._client.close()

    @property
    def reachable(self) -> bool:
        """Whether the connection has an address to call and a token to sign with."""
        return bool(self._config.settings.get(BASE)) and TOKEN in self._config.secret_names

    def ask(self, path: str, query: Mapping[str, str] | None = None) -> Mapping[str, object]:
        """GET an object. Raises UnavailableError for a lost answer: a question has no outcome that could be unknown."""
        try:
            return self._exchange("GET", path, None, query)
        except UnknownOutcomeError as error:
            raise UnavailableError(f"BitGo did not answer GET {path}", retry_after_s=2) from error

    def call(self, method: str, path: str, body: Mapping[str, object]) -> Mapping[str, object]:
        """POST or PUT an object. Raises UnknownOutcomeError when the answer was lost."""
        return self._exchange(method, path, body, None)

    def _exchange(
        self, method: str, path: str, body: Mapping[str, object] | None, query: Mapping[str, str] | None
    ) -> Mapping[str, object]:
        if not self.reachable:
            raise MissingCapabilityError(
                f"connection {self._config.id} has no {BASE} or {TOKEN}: act in BitGo's own console"
            )
        token = self._config.secret(TOKEN).decode()
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        url = f"{self._config.settings[BASE].rstrip('/')}/api/v2{path}"
        request = self._client.build_request(method, url, params=query, content=content, headers=headers)
        target = request.url.raw_path.decode("ascii")
        request.headers.update(request_headers(token, method, target, content, _now_ms()))
        answer = send(self._client, request)
        told = (answer.headers.get("Timestamp", ""), answer.headers.get("HMAC", ""), answer.status_code, answer.content)
        if not answer_is_genuine(token, (method, target), told, _now_ms()):
            raise UnknownOutcomeError(f"the answer to {method} {path} does not prove that BitGo made it")
        try:
            found = answer.json()
        except ValueError as error:
            raise UnknownOutcomeError(f"BitGo answered {method} {path} with something that is not JSON") from error
        if not isinstance(found, dict):
            raise UnknownOutcomeError(f"BitGo answered {method} {path} with something that is no object")
        return found


def _now_ms() -> int:
    return int(time.time() * 1000)
