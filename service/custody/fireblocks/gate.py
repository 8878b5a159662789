"""The Fireblocks API co-signer's callback handler: `/v2/tx_sign_request` and `/v2/config_change_sign_request`.

Rules (Fireblocks callback handler documentation): the body is a JWT, RS256, signed by the co-signer; the answer is HTTP
200 with a JWT, RS256, of the callback key that the path names (`key/{name}/v2/…`; none: the first), whose claims are
action, requestId (echoed whole: for a batched transaction it has a suffix that txId lacks) and rejectionReason. RETRY
holds: the co-signer asks again with the same facts. REJECT is final. An API key inside a configuration change is cut out
before anything is kept. A transfer whose bytes are what is shown is weighed as the withdrawal it is; everything else as a
signing. A request that names no vault account, so that no hold of ours could be looked up for it, that pays several
destinations at once, or that tells two amounts, is a doubt: held.
"""

import base64
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated, Any, Final, TypeVar

import jwt
import msgspec

from service.custody.fireblocks.assets import read_assets
from service.custody.fireblocks.bitcoin import read_change
from service.custody.fireblocks.display import TRANSFER, compare
from service.custody.fireblocks.mapping import destination_kind, dollars
from service.custody.fireblocks.messages import RAW, TYPED_MESSAGE, ExtraParameters, compare_messages
from service.custody.fireblocks.seen import RawTx, Seen, Shown, ShownDestination
from service.custody.fireblocks.webhooks import rsa_key
from service.domain.activity import MAX_ID_LENGTH, Activity, SigningFacts
from service.domain.errors import ConfigurationError, InputError, NotFoundError, UnauthenticatedError
from service.domain.gate import GateAnswer, GateCall, GateQuestion, GateReply, QuestionKind
from service.domain.intake import GATE_PREFIX, GateDecision
from service.domain.wire import check_event_id
from service.ports.custody import ConnectionConfig
from service.ports.gate import Signer

KEY_SETTING: Final = "cosigner_public_key"
ACTOR: Final = "fireblocks-console"
"""A configuration change names no person: all of them share this actor's baseline."""
_REDACTED: Final = "[redacted]"
_SECRET_FIELDS: Final = frozenset({"apikey", "apisecret", "secret", "privatekey", "password", "passphrase", "token"})
"""Names of fields, small letters without - and _."""
_PER_TOKEN: Final = frozenset({"iat", "exp", "nbf", "jti"})
_ACTIONS: Final = {GateDecision.APPROVE: "APPROVE", GateDecision.HOLD: "RETRY", GateDecision.REJECT: "REJECT"}
_CHANGES: Final[Mapping[str, str]] = {
    "UNMANAGED_WALLET": "governance.destination_whitelisted",
    "EXCHANGE": "governance.destination_whitelisted",
    "FIAT_ACCOUNT": "governance.destination_whitelisted",
    "ADD_USER": "governance.user_added",
    "RE_ENROLL_DEVICE": "access.device_enrolled",
    "CHANGE_QUORUM_THRESHOLD": "governance.quorum_changed",
    "UPDATE_APPROVAL_GROUP_MAPPING": "governance.role_changed",
    "USERS_GROUP_APPROVAL": "governance.role_changed",
}
"""Every other type changes the policy."""
_HEADER: Final = base64.urlsafe_b64encode(b'{"alg":"RS256","typ":"JWT"}').rstrip(b"=")
_MAX_DEPTH: Final = 20
_PATH: Final = re.compile(r"(?:key/([a-z0-9][a-z0-9-]{0,31})/)?v2/([a-z_]{1,40})")
_KINDS: Final = {
    "tx_sign_request": QuestionKind.SIGNING,
    "config_change_sign_request": QuestionKind.CONFIGURATION,
}
_TEXT: Final = b"text/plain; charset=utf-8"

Id = Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)]
T = TypeVar("T")


class SignRequest(msgspec.Struct, frozen=True, rename="camel"):
    """A signing request."""

    tx_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
    operation: Id
    asset: Id
    source_type: Id = ""
    source_id: Id | None = None
    dest_type: Id = ""
    dest_address_type: Id = ""
    amount_str: Id | None = None
    fee: Id | None = None
    destinations: Annotated[tuple[ShownDestination, ...], msgspec.Meta(max_length=1000)] = ()
    raw_tx: Annotated[tuple[RawTx, ...], msgspec.Meta(max_length=1000)] = ()
    extra_parameters: ExtraParameters | None = None


class ExtraInfo(msgspec.Struct, frozen=True, rename="camel"):
    """What a configuration change tells of itself, as far as we read it."""

    address: Id | None = None
    asset: Id | None = None


class ConfigRequest(msgspec.Struct, frozen=True, rename="camel"):
    """A request to sign a configuration change."""

    request_id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
    type: Id
    extra_info: ExtraInfo | None = None


class FireblocksDoor:
    """Implements `ports.gate.GateDoor` for one connection."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._connection = config.id
        self._assets = read_assets(config.settings)
        self._change = read_change(config.settings)
        pem = config.settings.get(KEY_SETTING, "")
        self._key = rsa_key(pem, KEY_SETTING) if pem else None

    def question(self, call: GateCall) -> GateQuestion:
        """Verify, then read; see the port."""
        kind, _ = _asked(call.path)
        if self._key is None:
            raise ConfigurationError(f"connection {self._connection} has no {KEY_SETTING}", field=KEY_SETTING)
        try:
            payload: bytes = jwt.api_jws.decode(call.body.strip(), self._key, algorithms=["RS256"])
        except (jwt.PyJWTError, ValueError) as error:
            raise UnauthenticatedError("the callback's signature does not verify") from error
        facts = _facts(payload)
        at = datetime.fromtimestamp(call.now_s, UTC)
        if kind is QuestionKind.SIGNING:
            return self._signing(_read(payload, SignRequest), facts, at)
        return self._configuration(_read(payload, ConfigRequest), facts, at)

    def answer(self, call: GateCall, question: GateQuestion, answer: GateAnswer, sign: Signer) -> GateReply:
        """Return the answer as a JWT; see the port."""
        _, key = _asked(call.path)
        claims = {"action": _ACTIONS[answer.decision], "requestId": question.request_id}
        if answer.decision is not GateDecision.APPROVE:
            claims["rejectionReason"] = answer.reason
        content = _HEADER + b"." + base64.urlsafe_b64encode(msgspec.json.encode(claims)).rstrip(b"=")
        signature = base64.urlsafe_b64encode(sign(content, key)).rstrip(b"=")
        return GateReply(content + b"." + signature, _TEXT)

    def _signing(self, request: SignRequest, facts: bytes, at: datetime) -> GateQuestion:
        seen = self._seen(request)
        activity = self._signing_activity(request, seen, at)
        return GateQuestion(request.request_id, activity, facts, seen.payload_digest, seen.doubt or _doubt(request))

    def _seen(self, request: SignRequest) -> Seen:
        if request.operation in {TYPED_MESSAGE, RAW}:
            return compare_messages(request.operation, request.extra_parameters, request.raw_tx)
        change = self._change.get(_account(request) or "", ())
        shown = Shown(request.operation, request.asset, request.destinations, request.fee, change)
        return compare(shown, request.raw_tx, self._assets)

    def _signing_activity(self, request: SignRequest, seen: Seen, at: datetime) -> Activity:
        first = request.destinations[0] if request.destinations else ShownDestination()
        place = seen.recipient or first.display_dst_address
        plain = request.operation == TRANSFER and _is_plain(seen.facts)
        return Activity(
            connection=self._connection,
            event_id=GATE_PREFIX + check_event_id(request.request_id, "requestId"),
            kind="withdrawal.requested" if plain else "signing.requested",
            occurred_at=at,
            account=_account(request),
            transaction=request.tx_id,
            asset=self._assets.name(request.asset),
            amount_base_units=self._assets.base_units(request.asset, _amount(request, first)),
            amount_usd=dollars(first.amount_usd),
            destination=self._assets.place(request.asset, place),
            destination_kind=destination_kind(_peer(request.dest_type), request.dest_address_type),
            signing=seen.facts or SigningFacts(),
        )

    def _configuration(self, request: ConfigRequest, facts: bytes, at: datetime) -> GateQuestion:
        extra = request.extra_info or ExtraInfo()
        activity = Activity(
            connection=self._connection,
            event_id=GATE_PREFIX + check_event_id(request.request_id, "requestId"),
            kind=_CHANGES.get(request.type, "governance.policy_changed"),
            occurred_at=at,
            actor=ACTOR,
            destination=self._assets.place(extra.asset, extra.address),
        )
        return GateQuestion(request.request_id, activity, facts)


def _asked(path: str) -> tuple[QuestionKind, str]:
    """Return what is asked at a path, and the name of the key that answers there."""
    found = _PATH.fullmatch(path)
    kind = None if found is None else _KINDS.get(found[2])
    if found is None or kind is None:
        raise NotFoundError("a co-signer asks at v2/tx_sign_request or v2/config_change_sign_request")
    return kind, found[1] or ""


def _account(request: SignRequest) -> str | None:
    return (request.source_id or None) if request.source_type == "VAULT" else None


def _amount(request: SignRequest, first: ShownDestination) -> Decimal | None:
    return _decimal(request.amount_str or first.amount_native_str)


def _doubt(request: SignRequest) -> str | None:
    """Return why a request cannot be weighed as one transfer out of one account of ours, if so."""
    if _account(request) is None:
        return "the request names no vault account"
    if len(request.destinations) > 1:
        return "the request pays several destinations at once"
    told = _decimal(request.amount_str)
    if told is not None and any(_decimal(d.amount_native_str) not in {None, told} for d in request.destinations):
        return "the request tells two amounts"
    return None


def _is_plain(facts: SigningFacts | None) -> bool:
    """Say whether the bytes do what a transfer does and nothing else, or are not of a chain that we decode."""
    if facts is None:
        return True
    return not (
        facts.delegatecall or facts.unlimited_approval or facts.governance_call or facts.display_mismatch is not False
    )


def _peer(dest_type: str) -> str:
    return {"VAULT": "VAULT_ACCOUNT", "UNMANAGED": "EXTERNAL_WALLET", "EXCHANGE": "EXCHANGE_ACCOUNT"}.get(
        dest_type, dest_type
    )


def _decimal(text: str | None) -> Decimal | None:
    try:
        found = None if text is None else Decimal(text)
    except ArithmeticError:
        return None
    return found if found is not None and found.is_finite() else None


def _read(payload: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(payload, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(f"the request is malformed: {error}", field="body") from error


def _facts(payload: bytes) -> bytes:
    """Return the canonical, redacted bytes of a request: what stays the same each time it is asked."""
    try:
        claims = msgspec.json.decode(payload)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("the request is not JSON", field="body") from error
    if not isinstance(claims, dict):
        raise InputError("the request is not a JSON object", field="body")
    kept = {name: _redacted(value, 0) for name, value in claims.items() if name not in _PER_TOKEN}
    return msgspec.json.encode(kept, order="deterministic")


def _is_secret(name: str) -> bool:
    return name.lower().replace("-", "").replace("_", "") in _SECRET_FIELDS


def _redacted(value: Any, depth: int) -> Any:
    if depth > _MAX_DEPTH:
        raise InputError(f"the request is nested deeper than {_MAX_DEPTH}", field="body")
    if isinstance(value, dict):
        return {name: _REDACTED if _is_secret(name) else _redacted(inner, depth + 1) for name, inner in value.items()}
    if isinstance(value, list):
        return [_redacted(inner, depth + 1) for inner in value]
    return value
