"""Inbound webhooks of a `standard` platform: Standard Webhooks 1.0.0 with our own activity schema.

Rules (Standard Webhooks 1.0.0): the signature covers `{id}.{timestamp}.{raw body}`, so it is checked on the raw bytes
before anything is parsed. `v1` is HMAC-SHA256 under a `whsec_` secret of 24 to 64 bytes, `v1a` is Ed25519 under a `whpk_`
key. Several secrets may be in force at once, for rotation; one good signature is enough. The timestamp may be 300 s off.
Whatever is wrong with the headers is one clean refusal that never says what it was.
"""

import base64
import binascii
import hmac
import re
from collections.abc import Iterable, Mapping
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from service.domain.errors import ConfigurationError, InputError, UnauthenticatedError
from service.domain.wire import check_event_id, parse_wire, to_activity
from service.ports.custody import ConnectionConfig, Delivery

TOLERANCE_S: Final = 300
SECRET_PREFIX: Final = "webhook_secret"  # noqa: S105  the name of secrets, not one
"""Secrets of this name, with any suffix (`webhook_secret.0`), verify; all of them are in force."""
PUBLIC_KEYS: Final = "webhook_public_keys"
"""Setting: `whpk_` keys, separated by spaces."""

_MIN_SECRET: Final = 24
_MAX_SECRET: Final = 64
_MAX_SIGNATURES: Final = 16
_MAX_ID: Final = 200
_TIMESTAMP: Final = re.compile(rb"[0-9]{1,12}")


class StandardReceiver:
    """Verifies and parses one connection's webhooks. Keys are unsealed once, when the connection is loaded."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._connection = config.id
        names = [name for name in config.secret_names if name.split(".")[0] == SECRET_PREFIX]
        # Keyed once: setting up a key would take longer than the message.
        self._macs = [HMAC(symmetric_key(config.secret(name), name), SHA256()) for name in sorted(names)]
        self._keys = [public_key(text) for text in config.settings.get(PUBLIC_KEYS, "").split()]
        if not self._macs and not self._keys:
            raise ConfigurationError(
                f"connection {config.id} has no {SECRET_PREFIX} and no {PUBLIC_KEYS}: nothing could ever verify",
                field=SECRET_PREFIX,
            )

    def receive(self, headers: Mapping[bytes, bytes], body: bytes, *, now_s: float) -> Delivery:
        """Verify, then parse; see the port."""
        event_id = headers.get(b"webhook-id", b"")
        timestamp = headers.get(b"webhook-timestamp", b"")
        if not self._verified(event_id, timestamp, headers.get(b"webhook-signature", b""), body):
            raise _refused()
        if abs(now_s - int(timestamp)) > TOLERANCE_S:
            raise _refused()
        told = check_event_id(event_id.decode("ascii"), "webhook-id")
        return Delivery(event_id=told, activity=to_activity(parse_wire(body), self._connection, told))

    def prepare(self, headers: Mapping[bytes, bytes], *, now_s: float) -> None:
        """Nothing has to be fetched before a delivery can be verified."""

    def _verified(self, event_id: bytes, timestamp: bytes, signatures: bytes, body: bytes) -> bool:
        well_formed = (
            0 < len(event_id) <= _MAX_ID
            and event_id.isascii()
            and b"." not in event_id
            and _TIMESTAMP.fullmatch(timestamp) is not None
        )
        if not well_formed:
            return False
        content = b"%b.%b.%b" % (event_id, timestamp, body)
        if signatures.startswith(b"v1,") and len(self._macs) == 1:
            # One signature under one secret, which is what is sent but for days of rotation: compared as it is written.
            written = binascii.b2a_base64(_mac(self._macs[0], content), newline=False)
            if hmac.compare_digest(written, signatures[3:]):
                return True
        return any(self._matches(version, value, content) for version, value in _signatures(signatures))

    def _matches(self, version: bytes, signature: bytes, content: bytes) -> bool:
        if version == b"v1":
            found = [hmac.compare_digest(_mac(keyed, content), signature) for keyed in self._macs]
            return any(found)
        return version == b"v1a" and any(_ed25519(key, signature, content) for key in self._keys)


def symmetric_key(secret: bytes, name: str) -> bytes:
    """Return the key inside a `whsec_` secret. Raises ConfigurationError naming it when it is of the wrong form."""
    try:
        text = secret.decode("ascii").strip()
        key = base64.b64decode(text.removeprefix("whsec_"), validate=True)
    except (UnicodeDecodeError, binascii.Error):
        key, text = b"", ""
    if not text.startswith("whsec_") or not _MIN_SECRET <= len(key) <= _MAX_SECRET:
        raise ConfigurationError(
            f"{name} must be whsec_ and base64 of {_MIN_SECRET} to {_MAX_SECRET} bytes", field=name
        )
    return key


def public_key(text: str) -> Ed25519PublicKey:
    """Return the key of a `whpk_` text. Raises InputError."""
    prefix, _, rest = text.partition("_")
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(rest if prefix == "whpk" else "", validate=True))
    except ValueError as error:
        raise InputError(f"{PUBLIC_KEYS} must be whpk_ and base64 of 32 bytes each", field=PUBLIC_KEYS) from error


def _mac(keyed: HMAC, content: bytes) -> bytes:
    mac = keyed.copy()
    mac.update(content)
    return mac.finalize()


def _signatures(header: bytes) -> Iterable[tuple[bytes, bytes]]:
    for part in header.split(b" ")[:_MAX_SIGNATURES]:
        version, comma, value = part.partition(b",")
        if not comma:
            continue
        try:
            yield version, base64.b64decode(value, validate=True)
        except binascii.Error:
            continue


def _ed25519(key: Ed25519PublicKey, signature: bytes, content: bytes) -> bool:
    try:
        key.verify(signature, content)
    except InvalidSignature:
        return False
    return True


def _refused() -> UnauthenticatedError:
    return UnauthenticatedError("the webhook's signature does not verify")
