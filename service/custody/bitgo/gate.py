"""BitGo's webhook policy: it asks before it adds its signature; 200 goes on, anything else does what the policy rule says.

Rules: BitGo signs these requests only by "webhook signing keys" (a JWT, and a JWT as the answer), of which neither the
place, the algorithm nor the key's address is known to us: a body in that form is refused, never guessed at. The address
alone proves who asks: it ends in a secret of at least 32 characters, compared in constant time, before anything is parsed.
The request has no id, so what it tells, without the count of approvals so far, names the payment, and the half-signed
transaction makes that unique: without one, two payments look alike, and it is a doubt. An approval answers repetitions for
minutes only, then the transaction and its clearance are looked up again; a doubt waits for people to clear these very
bytes, and what they cleared serves to the end of its week (of Unix time), then it is asked again.
A payment to several places, and one whose amounts differ, is a doubt. The half-signed transaction is decoded and held
against what is told (`half_signed.py`): another payment says so, and what cannot be compared is a doubt. BitGo has no
RETRY: a hold is a refusal, which a rule with the action `getApproval` turns into a pending approval for people there.
"""

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Annotated, Final

import msgspec

from service.custody.bitgo.half_signed import Seen, Told, look
from service.custody.bitgo.wallets import read_assets, read_wallets
from service.domain.activity import MAX_ID_LENGTH, Activity, SigningFacts
from service.domain.errors import ConfigurationError, InputError, NotFoundError, UnauthenticatedError
from service.domain.gate import GateAnswer, GateCall, GateQuestion, GateReply
from service.domain.intake import GATE_PREFIX, GateDecision
from service.ports.custody import ConnectionConfig
from service.ports.gate import Signer

PATH_SECRET: Final = "policy_path_secret"  # noqa: S105  its name, not its value
MIN_SECRET: Final = 32
_MAX_SECRET: Final = 200
_PREFIX: Final = "policy/"
_MOST_OUTPUTS: Final = 1_000
_SERVES_S: Final = 300
"""How long a decision answers repetitions, at most."""
_CLEARED_SERVES_S: Final = 7 * 86_400
"""How long what people cleared answers repetitions of a doubted request, at most."""
_COUNTED: Final = frozenset({"approvalCount"})
_JWT_FIELD: Final = "evaluationId"

Text = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH)]
Amount = Annotated[int, msgspec.Meta(ge=0)] | Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,78}\Z")]


class PolicyOutput(msgspec.Struct, frozen=True, rename="camel"):
    """One payment; what goes back to the wallet itself names it as `outputWallet`."""

    output_value: Amount
    output_address: Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)] = ""
    output_wallet: Annotated[str, msgspec.Meta(max_length=MAX_ID_LENGTH)] | None = None


class PolicyRequest(msgspec.Struct, frozen=True, rename="camel"):
    """The part of a request that we read; all of it is kept."""

    wallet_id: Text
    rule_id: Text
    outputs: Annotated[tuple[PolicyOutput, ...], msgspec.Meta(min_length=1, max_length=_MOST_OUTPUTS)]
    spend_amount: Amount | None = None
    half_signed: str | dict[str, object] | None = None


class BitgoDoor:
    """Implements `ports.gate.GateDoor` for one connection."""

    def __init__(self, config: ConnectionConfig) -> None:
        self._connection = config.id
        self._wallets = read_wallets(config.settings)
        self._assets = read_assets(config.settings)
        self._secret = config.secret(PATH_SECRET) if PATH_SECRET in config.secret_names else b""

    def question(self, call: GateCall) -> GateQuestion:
        """Verify, then read; see the port."""
        if not call.path.startswith(_PREFIX):
            raise NotFoundError("BitGo asks at policy/ and the connection's secret")
        if not self._secret:
            raise ConfigurationError(f"connection {self._connection} has no {PATH_SECRET}", field=PATH_SECRET)
        if not hmac.compare_digest(call.path.removeprefix(_PREFIX).encode(), self._secret):
            raise UnauthenticatedError("this is not the address that BitGo was given")
        everything = _object(call.body)
        if _JWT_FIELD in everything:
            raise _signed_variant()
        try:
            request = msgspec.convert(everything, PolicyRequest)
        except msgspec.ValidationError as error:
            raise InputError(f"the request is malformed: {error}", field="body") from error
        kept = {name: value for name, value in everything.items() if name not in _COUNTED}
        facts = msgspec.json.encode(kept, order="deterministic")
        return self._asked(request, facts, call.now_s)

    def answer(self, call: GateCall, question: GateQuestion, answer: GateAnswer, sign: Signer) -> GateReply:  # noqa: ARG002  BitGo goes by the status
        """Return the answer; see the port."""
        told = {"decision": answer.decision, "reason": answer.reason, "request": question.request_id}
        refuses = answer.decision is not GateDecision.APPROVE
        return GateReply(msgspec.json.encode(told), b"application/json", refuses)

    def _asked(self, request: PolicyRequest, facts: bytes, now_s: float) -> GateQuestion:
        coin = self._wallets.get(request.wallet_id)
        seen = self._seen(request, coin)
        paid = [one for one in request.outputs if one.output_wallet != request.wallet_id]
        amount = sum(int(one.output_value) for one in paid)
        places = sorted({one.output_address for one in paid})
        doubt = _doubt(request, coin, places, amount) or seen.doubt
        payment, request_id = _names(facts, now_s, unique=_is_half_signed(request), doubted=doubt is not None)
        activity = Activity(
            connection=self._connection,
            event_id=GATE_PREFIX + request_id,
            kind="withdrawal.requested" if _is_plain(seen.facts) else "signing.requested",
            occurred_at=datetime.fromtimestamp(now_s, UTC),
            account=request.wallet_id,
            transaction=payment,
            asset=self._assets.name(coin),
            amount_base_units=amount if amount < 10**78 else None,
            destination=self._assets.place(coin, seen.recipient or (places[0] if len(places) == 1 else None)),
            signing=seen.facts,
        )
        return GateQuestion(request_id, activity, facts, seen.digest, doubt)

    def _seen(self, request: PolicyRequest, coin: str | None) -> Seen:
        if coin is None or request.half_signed is None or not _is_half_signed(request):
            return Seen()
        told = [
            Told(one.output_address, int(one.output_value), one.output_wallet == request.wallet_id)
            for one in request.outputs
        ]
        return look(request.half_signed, told, self._assets.name(coin))


def check_secret(secret: bytes, name: str) -> None:
    """Raise ConfigurationError naming a secret that is too short or cannot stand in an address."""
    plain = secret.isascii() and secret.replace(b"-", b"").replace(b"_", b"").isalnum()
    if not MIN_SECRET <= len(secret) <= _MAX_SECRET or not plain:
        raise ConfigurationError(f"{name} has {MIN_SECRET} to {_MAX_SECRET} letters, digits, - and _", field=name)


def _names(facts: bytes, now_s: float, *, unique: bool, doubted: bool) -> tuple[str, str]:
    """Return the ids of the payment and of the question: what answers repetitions, and for how long."""
    name = f"policy-{hashlib.sha256(facts).hexdigest()[:40]}"
    timed = f"{name}-{int(now_s // _SERVES_S)}"
    if not unique:
        return timed, timed
    return name, f"{name}-w{int(now_s // _CLEARED_SERVES_S)}" if doubted else timed


def _is_half_signed(request: PolicyRequest) -> bool:
    half = request.half_signed
    return any(half.values()) if isinstance(half, dict) else bool(half)


def _is_plain(facts: SigningFacts | None) -> bool:
    """Say whether the bytes are a payment and nothing else, or are not of a chain that is decoded."""
    if facts is None:
        return True
    return not (facts.delegatecall or facts.unlimited_approval or facts.governance_call or facts.display_mismatch)


def _doubt(request: PolicyRequest, coin: str | None, places: list[str], amount: int) -> str | None:
    if coin is None:
        return "the connection's setting wallets does not name this wallet"
    if not _is_half_signed(request):
        return "the request brings no half-signed transaction: it cannot be told from an earlier one"
    if len(places) != 1 or not places[0]:
        return "the request pays several destinations at once, or none that it names"
    if request.spend_amount is not None and int(request.spend_amount) != amount:
        return "the request tells two amounts"
    return None


def _object(body: bytes) -> dict[str, object]:
    if body.lstrip()[:1] not in {b"{", b'"'} and body.count(b".") == 2:  # noqa: PLR2004  a compact JWT has two dots
        raise _signed_variant()
    try:
        found = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise InputError("the request is not JSON", field="body") from error
    if not isinstance(found, dict):
        raise InputError("the request is not a JSON object", field="body")
    return found


def _signed_variant() -> InputError:
    return InputError(
        "this request has the form of BitGo's webhook signing keys, which is not supported: revoke the signing key there",
        field="body",
    )
