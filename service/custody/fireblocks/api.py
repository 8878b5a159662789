"""One workspace's API: requests signed inside the platform token, answers read as JSON.

Rules: every request carries `X-API-Key` and a JWT (RS256; uri, nonce, iat, exp = iat + 55 s, sub, bodyHash) signed by a
key that never leaves the token, and every POST and PUT an `Idempotency-Key`, which Fireblocks honours for 24 h. A lost
answer to a question changed nothing and is only unavailable; a lost answer to a call is an unknown outcome.
"""

import base64
import hashlib
import json
import time
import uuid
from collections.abc import Mapping
from typing import Final

import httpx

from service.custody.base import paced_client, send
from service.domain.errors import (
    ConfigurationError,
    MissingCapabilityError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.ports.custody import ConnectionConfig, SignHere

_TOKEN_LIFE_S: Final = 55
CALLS_PER_S: Final = 50.0
"""Calls a second. Fireblocks counts by API user and minute and publishes no number, so containing is not slowed by a guess:
its 429 is what slows it. Ask its support for your number."""
_KEY_CHARACTERS: Final = 40


class FireblocksApi:
    """Asks and calls; raises what `service.custody.base.send` raises."""

    def __init__(self, config: ConnectionConfig, sign: SignHere | None, client: httpx.Client | None) -> None:
        self._config = config
        self._sign = sign
        self._client = client or paced_client(config, CALLS_PER_S)

    def close(self) -> None:
        """Close the line to Fireblocks."""
        self._client.close()

    @property
    def reachable(self) -> bool:
        """Whether the connection has an address to call and a key to sign with."""
        return bool(self._config.settings.get("api_base_url")) and self._sign is not None

    def ask(self, path: str, query: Mapping[str, str] | None = None) -> object:
        """GET. Raises UnavailableError for a lost answer: a question has no outcome that could be unknown."""
        request = self._client.build_request("GET", f"{self._base()}{path}", params=dict(query or {}) or None)
        self._authorise(request, b"")
        try:
            return send(self._client, request).json()
        except (UnknownOutcomeError, ValueError) as error:
            raise UnavailableError(f"Fireblocks did not answer GET {path}", retry_after_s=2) from error

    def call(self, method: str, path: str, body: Mapping[str, object] | None, key: str) -> object:
        """POST or PUT under an idempotency key of any length; an empty answer is `{}`. Raises UnknownOutcomeError."""
        content = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
        headers = {"Idempotency-Key": hashlib.sha256(key.encode()).hexdigest()[:_KEY_CHARACTERS]}
        if body is not None:
            headers["Content-Type"] = "application/json"
        request = self._client.build_request(method, f"{self._base()}{path}", content=content, headers=headers)
        self._authorise(request, content)
        answer = send(self._client, request)
        try:
            return answer.json() if answer.content else {}
        except ValueError as error:
            raise UnknownOutcomeError(f"Fireblocks answered {method} {path} with something that is not JSON") from error

    def _base(self) -> str:
        base = self._config.settings.get("api_base_url")
        if not base:
            raise MissingCapabilityError(
                f"connection {self._config.id} has no api_base_url: act in the Fireblocks console"
            )
        return base.rstrip("/")

    def _authorise(self, request: httpx.Request, body: bytes) -> None:
        if self._sign is None:
            raise ConfigurationError(f"connection {self._config.id} has no API signing key in the platform token")
        api_key = self._config.settings["api_key"]
        now = int(time.time())
        claims = {
            "uri": request.url.raw_path.decode("ascii"),
            "nonce": str(uuid.uuid4()),
            "iat": now,
            "exp": now + _TOKEN_LIFE_S,
            "sub": api_key,
            "bodyHash": hashlib.sha256(body).hexdigest(),
        }
        signed = f"{_part({'alg': 'RS256', 'typ': 'JWT'})}.{_part(claims)}"
        signature = _b64url(self._sign(signed.encode("ascii")))
        request.headers["X-API-Key"] = api_key
        request.headers["Authorization"] = f"Bearer {signed}.{signature}"


def _part(claims: Mapping[str, object]) -> str:
    return _b64url(json.dumps(claims, separators=(",", ":")).encode())


def _b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")
