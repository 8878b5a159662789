"""Events of an own hot wallet, in the wire schema of `docs/concepts/activity.md`, signed as OpenZeppelin Monitor signs.

Rules: `X-Signature` is the lower-case hex HMAC-SHA256 over the raw body followed by `X-Timestamp` (milliseconds), nothing
between; it is checked before anything is parsed, and a time more than 300 s off is refused. The event's id is the digest
of its body: the same body again is the same event. Several secrets may be in force at once, for rotation.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping
from typing import Final

from service.domain.errors import ConfigurationError, UnauthenticatedError
from service.domain.wire import parse_wire, to_activity
from service.ports.custody import ConnectionConfig, Delivery

SECRET_PREFIX: Final = "webhook_hmac"  # noqa: S105  the name of secrets, not one
"""Secrets of this name, with any suffix (`webhook_hmac.0`), verify; all of them are in force."""
TOLERANCE_MS: Final = 300_000
_MIN_SECRET: Final = 24
_TIMESTAMP: Final = re.compile(rb"[0-9]{1,15}")


class EvmReceiver:
    """Verifies and parses one connection's webhooks."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._connection = config.id
        names = sorted(name for name in config.secret_names if name.split(".")[0] == SECRET_PREFIX)
        self._secrets = [hmac_secret(config.secret(name), name) for name in names]
        if not self._secrets:
            raise ConfigurationError(
                f"connection {config.id} has no {SECRET_PREFIX}: nothing could ever verify", field=SECRET_PREFIX
            )

    def receive(self, headers: Mapping[bytes, bytes], body: bytes, *, now_s: float) -> Delivery:
        """Verify, then parse; see the port."""
        at = headers.get(b"x-timestamp", b"")
        given = headers.get(b"x-signature", b"")
        if _TIMESTAMP.fullmatch(at) is None:
            raise _refused()
        expected = [signature(secret, body, at) for secret in self._secrets]
        if not any([hmac.compare_digest(one, given) for one in expected]):  # noqa: C419  all are compared
            raise _refused()
        if abs(now_s * 1000 - int(at)) > TOLERANCE_MS:
            raise _refused()
        identity = f"body:{hashlib.sha256(body).hexdigest()}"
        return Delivery(identity, to_activity(parse_wire(body), self._connection, identity))

    def prepare(self, headers: Mapping[bytes, bytes], *, now_s: float) -> None:
        """Nothing has to be fetched before a delivery can be verified."""


def signature(secret: bytes, body: bytes, at: bytes) -> bytes:
    """Return what `X-Signature` must be."""
    return hmac.digest(secret, body + at, "sha256").hex().encode()


def hmac_secret(secret: bytes, name: str) -> bytes:
    """Return a secret that may sign. Raises ConfigurationError naming it when it is too short."""
    if len(secret.strip()) < _MIN_SECRET:
        raise ConfigurationError(f"{name} must have {_MIN_SECRET} characters or more", field=name)
    return secret.strip()


def _refused() -> UnauthenticatedError:
    return UnauthenticatedError("the webhook's signature does not verify")
