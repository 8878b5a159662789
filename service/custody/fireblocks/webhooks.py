"""Inbound Fireblocks webhooks: v2 (detached JWS, RS512, JWKS) and v1 (RSA PKCS#1 v1.5 with SHA-512, static key).

Rules: the signature is checked over the raw bytes before anything is parsed. All customers of a region share the
platform's keys, so a genuine event of another workspace is refused like a forged one, and nothing of it is stored
(design D9). v2 has no signed time: the event id, kept for ever, is what stops a replay. v1 has no event id: the SHA-256 of
the body serves. Where v2 is set up and its header is there, v2 decides, so nobody can choose the weaker check.
"""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Annotated, Final

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from service.custody.fireblocks.assets import read_assets
from service.custody.fireblocks.keyset import KeySet
from service.custody.fireblocks.mapping import TransactionDetails, moment, transaction_activity
from service.domain.errors import ConfigurationError, InputError, UnauthenticatedError
from service.domain.wire import check_event_id
from service.ports.custody import ConnectionConfig, Delivery

V2_HEADER: Final = b"fireblocks-webhook-signature"
V1_HEADER: Final = b"fireblocks-signature"
_MAX_HEADER: Final = 4096
_MIN_BITS: Final = 2048
_TRANSACTIONS: Final = frozenset(
    {"transaction.created", "transaction.status.updated", "TRANSACTION_CREATED", "TRANSACTION_STATUS_UPDATED"}
)
Text = Annotated[str, msgspec.Meta(max_length=200)]


class Protected(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The protected header of a v2 signature; a header that asks for more (`crit`, `b64`) is refused."""

    alg: str
    kid: Text
    typ: Text = ""


class Envelope(msgspec.Struct, frozen=True, rename="camel"):
    """Both envelopes: v2 names workspaceId and eventType, v1 tenantId and type."""

    id: Text | None = None
    workspace_id: Text | None = None
    event_type: Text | None = None
    created_at: int | None = None
    tenant_id: Text | None = None
    type: Text | None = None
    timestamp: int | None = None
    data: msgspec.Raw = msgspec.Raw(b"null")


class FireblocksReceiver:
    """Verifies and parses one connection's webhooks."""

    def __init__(self, config: ConnectionConfig) -> None:
        settings = config.settings
        self._connection = config.id
        self._workspace = settings.get("workspace_id", "")
        self._tenant = settings.get("tenant_id", "")
        self._assets = read_assets(settings)
        url, pem = settings.get("jwks_url", ""), settings.get("webhook_public_key", "")
        self._keys = KeySet(url) if url else None
        self._static = rsa_key(pem, "webhook_public_key") if pem else None
        if self._keys is None and self._static is None:
            raise ConfigurationError(
                f"connection {config.id} has neither jwks_url nor webhook_public_key: nothing could ever verify",
                field="jwks_url",
            )

    def prepare(self, headers: Mapping[bytes, bytes], *, now_s: float) -> Callable[[], None] | None:
        """Return the fetch of the key set when the signature's key is not known; see the port."""
        del now_s
        if self._keys is None or V2_HEADER not in headers:
            return None
        protected, _ = _split(headers[V2_HEADER])
        return self._keys.fetch if self._keys.wants_fetch(_header(protected).kid) else None

    def receive(self, headers: Mapping[bytes, bytes], body: bytes, *, now_s: float) -> Delivery:
        """Verify, then parse; see the port."""
        del now_s
        if self._keys is not None and V2_HEADER in headers:
            self._verify_v2(self._keys, headers[V2_HEADER], body)
        elif self._static is not None and V1_HEADER in headers:
            _verify_rsa(self._static, _decoded(headers[V1_HEADER], urlsafe=False), body)
        else:
            raise _refused()
        return self._parsed(body)

    @staticmethod
    def _verify_v2(keys: KeySet, header: bytes, body: bytes) -> None:
        protected, signature = _split(header)
        told = _header(protected)
        if told.alg != "RS512":
            raise _refused()
        content = protected + b"." + base64.urlsafe_b64encode(body).rstrip(b"=")
        _verify_rsa(keys.key(told.kid), _decoded(signature, urlsafe=True), content)

    def _parsed(self, body: bytes) -> Delivery:
        try:
            envelope = msgspec.json.decode(body, type=Envelope)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"the body is not a webhook envelope: {error}", field="body") from error
        self._check_owner(envelope)
        v2 = envelope.workspace_id is not None
        event_id = check_event_id(envelope.id or "", "id") if v2 else hashlib.sha256(body).hexdigest()
        event_type = (envelope.event_type if v2 else envelope.type) or ""
        if event_type not in _TRANSACTIONS:
            return Delivery(event_id, None, event_type)
        stamp, field = (envelope.created_at, "createdAt") if v2 else (envelope.timestamp, "timestamp")
        if stamp is None:
            raise InputError(f"{field} is required", field=field)
        try:
            details = msgspec.json.decode(envelope.data, type=TransactionDetails)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise InputError(f"data: {error}", field="data") from error
        activity = transaction_activity(details, self._assets, self._connection, event_id, moment(stamp, field))
        return Delivery(event_id, activity, event_type)

    def _check_owner(self, envelope: Envelope) -> None:
        """Refuse an event of another workspace exactly like a forged one."""
        told, expected = envelope.workspace_id, self._workspace
        if told is None:
            told, expected = envelope.tenant_id, self._tenant
        if not told or not expected or not hmac.compare_digest(told.encode(), expected.encode()):
            raise _refused()


def rsa_key(pem: str, setting: str) -> RSAPublicKey:
    """Return an RSA key of at least 2048 bits. Raises ConfigurationError naming the setting."""
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except ValueError as error:
        raise ConfigurationError(f"{setting} is not a PEM public key", field=setting) from error
    if not isinstance(key, RSAPublicKey) or key.key_size < _MIN_BITS:
        raise ConfigurationError(f"{setting} must be an RSA key of at least {_MIN_BITS} bits", field=setting)
    return key


def _split(header: bytes) -> tuple[bytes, bytes]:
    parts = header.split(b".")
    if len(header) > _MAX_HEADER or len(parts) != 3 or parts[1]:  # noqa: PLR2004  RFC 7515 appendix F: header..signature
        raise _refused()
    return parts[0], parts[2]


def _header(protected: bytes) -> Protected:
    try:
        return msgspec.json.decode(_decoded(protected, urlsafe=True), type=Protected)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise _refused() from error


def _decoded(text: bytes, *, urlsafe: bool) -> bytes:
    if len(text) > _MAX_HEADER:
        raise _refused()
    try:
        if not urlsafe:
            return base64.b64decode(text, validate=True)
        return base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise _refused() from error


def _verify_rsa(key: RSAPublicKey, signature: bytes, content: bytes) -> None:
    try:
        key.verify(signature, content, PKCS1v15(), hashes.SHA512())
    except InvalidSignature as error:
        raise _refused() from error


def _refused() -> UnauthenticatedError:
    return UnauthenticatedError("the webhook's signature does not verify")
