"""Messages over HTTP: a Slack-style incoming webhook, and a generic one signed as Standard Webhooks 1.0.0.

Both answer by status: 2xx delivered; 408, 425, 429 and 5xx may be tried again; other 4xx never. A connection lost after
the request was sent is an unknown outcome; the generic receiver can tell by the constant `webhook-id`. What an answer
says beside its status is not read.
"""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass

import httpx

from service.domain.errors import ConfigurationError, RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.secrets import Secret
from service.outgoing import new_client
from service.ports.notify import Letter

_TIMEOUT = httpx.Timeout(10.0, connect=5.0)
_LATER = frozenset({408, 425, 429})
_SLACK_ESCAPES = (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"))
"""So that a name from outside can neither mention a whole channel nor pass as a link."""
_KEY_BYTES = range(24, 65)


def sign_standard_webhook(secret: bytes, message_id: str, timestamp: int, body: bytes) -> str:
    """Return the `webhook-signature` value (scheme v1, HMAC-SHA256) for one attempt."""
    signed = f"{message_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()


@dataclass(frozen=True, slots=True)
class SlackChannel:
    """An incoming webhook that takes `{"text": …}`; its URL is the secret."""

    url: Secret

    def deliver(self, letter: Letter) -> Mapping[str, str]:
        """Post the text; see the port for what is raised."""
        text = f"*{letter.subject}*\n{letter.body}"
        for plain, escaped in _SLACK_ESCAPES:
            text = text.replace(plain, escaped)
        return _post(self.url.reveal(), json.dumps({"text": text}).encode(), {})


@dataclass(frozen=True, slots=True)
class SignedWebhookChannel:
    """A receiver of the user's own; `secret` is 24 to 64 bytes."""

    url: str
    secret: Secret

    def __post_init__(self) -> None:
        try:
            key = self._key()
        except ValueError as error:
            raise ConfigurationError("the webhook's secret is whsec_ and base64 of 24 to 64 bytes") from error
        if len(key) not in _KEY_BYTES:
            raise ConfigurationError("the webhook's secret is whsec_ and base64 of 24 to 64 bytes")

    def _key(self) -> bytes:
        return base64.b64decode(self.secret.reveal().removeprefix("whsec_"), validate=True)

    def deliver(self, letter: Letter) -> Mapping[str, str]:
        """Post the letter as JSON, signed; see the port for what is raised."""
        message_id = hashlib.sha256(letter.key.encode()).hexdigest()[:32]
        stamp = int(time.time())
        content = {
            "type": "message",
            "recipient": letter.recipient,
            "subject": letter.subject,
            "body": letter.body,
            "facts": dict(letter.facts),
        }
        body = json.dumps(content, separators=(",", ":")).encode()
        headers = {
            "webhook-id": message_id,
            "webhook-timestamp": str(stamp),
            "webhook-signature": sign_standard_webhook(self._key(), message_id, stamp, body),
        }
        return _post(self.url, body, headers)


def _post(url: str, body: bytes, headers: Mapping[str, str]) -> Mapping[str, str]:
    try:
        told = {"content-type": "application/json", **headers}
        with new_client(_TIMEOUT) as client, client.stream("POST", url, content=body, headers=told) as answer:
            pass  # the status says all
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise UnavailableError(f"the receiver did not answer ({type(error).__name__})") from error
    except (httpx.InvalidURL, httpx.UnsupportedProtocol) as error:
        raise RefusedByOtherSideError("the receiver's address is no http or https URL: register it anew") from error
    except httpx.HTTPError as error:
        raise UnknownOutcomeError(f"the receiver's answer was lost ({type(error).__name__})") from error
    if answer.is_success:
        return {"status": str(answer.status_code)}
    if answer.status_code in _LATER or answer.is_server_error:
        raise UnavailableError(f"the receiver answered {answer.status_code}")
    raise RefusedByOtherSideError(f"the receiver answered {answer.status_code}: check its address and secret")
