"""What every platform's outbound calls share: sending one request and saying what its answer means.

Rules (design D5): a request that never left (no connection) did nothing; a request whose answer was lost, and every 5xx,
may have had its effect, so it is UnknownOutcomeError and the caller asks the other side; 429 did nothing and says when to
come back, and no worker calls before; any other 4xx is a clear no. Answers are bounded, in size and in time
(`service/outgoing.py`). Redirects are not followed: they would carry our signature to a place nobody approved.

Calls stand on three levels. `LackingCalls` can do nothing and says so. `GateHeldCalls` adds the holds of our own gate, for
platforms that ask it; no other may inherit them. `GatedCalls` is an own wallet: the key worker acts on its chain.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

import httpx

from service.domain.account import AccountRef
from service.domain.errors import (
    InputError,
    MissingCapabilityError,
    PortcullisError,
    RateLimitedError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.plan import Receipt, Verdict
from service.outgoing import WITHIN, bounded, trusted
from service.ports.custody import Capability, ConnectionConfig, GateHolds, PendingChange, PendingTransfer, Setting

MAX_ANSWER: Final = 4 * 1024 * 1024
TIMEOUT: Final = httpx.Timeout(15.0, connect=5.0)
"""Of each step: the exchange as a whole ends by `outgoing.WITHIN_S`, so that a lost answer is ours to notice."""
_MOST_DIGITS: Final = 9
_NOBODY_THERE: Final = frozenset({502, 503, 504})
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout, httpx.UnsupportedProtocol)


def new_client(config: ConnectionConfig) -> httpx.Client:
    """Return a client of one connection's platform that tells `config.heard` of each exchange; nothing is sent yet.

    An idle line is given up before the other side would (uvicorn: 5 s): a request into a closing line is an answer lost.
    """
    inner = httpx.HTTPTransport(verify=trusted(), limits=httpx.Limits(keepalive_expiry=4.0))
    return httpx.Client(timeout=TIMEOUT, transport=_Listening(bounded(inner), config.heard))


class _Listening(httpx.BaseTransport):
    """Tells whether anything came back: a platform that says no is there, a gateway that finds nobody behind it is not."""

    def __init__(self, inner: httpx.BaseTransport, heard: Callable[[bool], None]) -> None:
        self._inner = inner
        self._heard = heard

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Raises what httpx raises."""
        try:
            answer = self._inner.handle_request(request)
        except httpx.TransportError:
            self._heard(False)  # noqa: FBT003  its only word
            raise
        self._heard(answer.status_code not in _NOBODY_THERE)
        return answer

    def close(self) -> None:
        """Close the lines."""
        self._inner.close()


def paced_client(config: ConnectionConfig, calls_per_s: float) -> httpx.Client:
    """Return a new client each of whose requests waits for its turn, at the connection's own rate or at `calls_per_s`.

    Sending raises CallDeferredError when there is none soon; a 429 is told to whoever gives the turns.
    """
    per_s = rate_of(config.settings, calls_per_s)

    def take_turn(request: httpx.Request) -> None:
        patience_s = config.pace.turn(per_s)
        if patience_s is not None:
            request.extensions[WITHIN] = patience_s

    def note(answer: httpx.Response) -> None:
        if answer.status_code == httpx.codes.TOO_MANY_REQUESTS:
            config.pace.slow_down(_retry_after(answer))

    client = new_client(config)
    client.event_hooks = {"request": [take_turn], "response": [note]}
    return client


def send(client: httpx.Client, request: httpx.Request) -> httpx.Response:
    """Send one request and return its successful answer, read whole.

    Raises UnavailableError (nothing was sent), RateLimitedError, RefusedByOtherSideError, UnknownOutcomeError.
    """
    where = f"{request.method} {request.url.host}{request.url.path}"
    try:
        answer = client.send(request, stream=True)
        try:
            _read(answer)
        finally:
            answer.close()
    except _NOT_SENT as error:
        raise UnavailableError(f"{where} could not be reached: {type(error).__name__}", retry_after_s=2) from error
    except httpx.HTTPError as error:
        raise UnknownOutcomeError(f"{where}: the answer was lost ({type(error).__name__})") from error
    _judge(where, answer)
    return answer


def _read(answer: httpx.Response) -> None:
    content = bytearray()
    for part in answer.iter_bytes():
        content += part
        if len(content) > MAX_ANSWER:
            raise httpx.DecodingError(f"the answer is over {MAX_ANSWER} bytes")
    answer._content = bytes(content)  # noqa: SLF001  as httpx.Response.read does, with a bound


def _judge(where: str, answer: httpx.Response) -> None:
    status = answer.status_code
    if answer.is_success:
        return
    if status == httpx.codes.TOO_MANY_REQUESTS:
        raise RateLimitedError(f"{where} asks us to slow down", retry_after_s=_retry_after(answer))
    if answer.is_client_error and status != httpx.codes.REQUEST_TIMEOUT:
        raise RefusedByOtherSideError(f"{where} refused: {status} {_reason(answer)}")
    raise UnknownOutcomeError(f"{where} answered {status}: it may or may not have happened")


def _retry_after(answer: httpx.Response) -> float:
    """Seconds, from either form of RFC 9110 10.2.3; what is neither is a short while."""
    told = answer.headers.get("Retry-After", "")
    if told.isascii() and told.isdigit() and len(told) <= _MOST_DIGITS:
        return float(told)
    try:
        at = parsedate_to_datetime(told)
        wait = at.replace(tzinfo=at.tzinfo or UTC) - datetime.now(UTC)
    except (ValueError, OverflowError):  # a year or a zone beyond what a clock has
        return 5.0
    return max(wait.total_seconds(), 1.0)


def _reason(answer: httpx.Response) -> str:
    return "".join(c if c.isprintable() else " " for c in answer.text[:200])


def require_url(settings_name: str, url: str) -> None:
    """Raise InputError unless `url` is https, or http to this very machine."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise InputError(f"{settings_name} is not a URL", field=settings_name) from error
    local = parsed.host in {"127.0.0.1", "::1", "localhost"}
    if parsed.scheme != "https" and not (parsed.scheme == "http" and local):
        raise InputError(f"{settings_name} must be an https URL (http only to this machine)", field=settings_name)


def cannot_tell(error: PortcullisError) -> Verdict:
    """Return what a question that failed says; raise again what only has to wait: it was not asked or not heard."""
    if isinstance(error, RateLimitedError):
        raise error
    return Verdict.CANNOT_TELL


def calls_setting(default: float) -> Setting:
    """Return the setting of a platform that is called."""
    told = f"calls to the platform a second, over all workers, {default:g} unless told"
    return Setting(CALLS, required=False, secret=False, opened_by="", help=told)


def rate_of(settings: Mapping[str, str], default: float) -> float:
    """Return how many calls a second a connection's platform takes. Raises InputError naming the setting."""
    told = settings.get(CALLS, "")
    if not told:
        return default
    if _RATE.fullmatch(told) is None or not LEAST_CALLS <= float(told) <= MOST_CALLS:
        raise InputError(f"{CALLS} must be a number from {LEAST_CALLS:g} to {MOST_CALLS:g}", field=CALLS)
    return float(told)


CALLS: Final = "calls_per_s"
LEAST_CALLS: Final = 0.1
MOST_CALLS: Final = 1_000.0
_RATE: Final = re.compile(r"[0-9]{1,4}(\.[0-9]{1,3})?", re.ASCII)
RATE: Final = Setting(
    "rate_per_s", required=False, secret=False, opened_by="", help="deliveries a second, 2000 unless told"
)
"""Setting of every platform that sends webhooks."""
GATED: Final = frozenset({Capability.HOLD_OUTGOING, Capability.LOCK_DESTINATION})
ASKS_GATE: Final = "signers_ask_gate"
"""Setting: `yes` where nothing is signed without an answer of POST /v1/decisions."""


def asks_gate(who: str) -> Setting:
    """Return the setting of a wallet whose `who` asks our gate."""
    told = f"yes where {who} without an answer of POST /v1/decisions"
    return Setting(ASKS_GATE, required=False, secret=False, opened_by="", help=told)


def check_asks_gate(settings: Mapping[str, str]) -> None:
    """Raise InputError unless the setting is yes, no or absent."""
    if settings.get(ASKS_GATE, "no") not in {"yes", "no"}:
        raise InputError(f"{ASKS_GATE} must be yes or no", field=ASKS_GATE)


class LackingCalls(ABC):
    """Has no call at all; a platform overrides what it can do. `missing` says what to do by hand for what it lacks."""

    ours: frozenset[Capability] = frozenset()

    def __init__(self, config: ConnectionConfig, missing: Mapping[Capability, str]) -> None:
        self._config = config
        self._missing = missing

    @property
    @abstractmethod
    def capabilities(self) -> frozenset[Capability]:
        """See the port."""

    @abstractmethod
    def _out_of_reach(self, capability: Capability) -> str:
        """Say why this connection cannot do what its kind of platform can, and what to do by hand."""

    def lacks(self, capability: Capability) -> str:
        """See the port."""
        return self._missing.get(capability) or self._out_of_reach(capability)

    def settled(self, key: str) -> Verdict:  # noqa: ARG002  nothing can be asked by key
        """See the port."""
        return Verdict.CANNOT_TELL

    def hold_outgoing(self, account: AccountRef, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        raise self._lacking(Capability.HOLD_OUTGOING)

    def outgoing_held(self, account: AccountRef) -> Verdict:  # noqa: ARG002  there is no such call
        """See the port."""
        return Verdict.CANNOT_TELL

    def release_outgoing(self, account: AccountRef, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        raise self._lacking(Capability.HOLD_OUTGOING)

    @abstractmethod
    def pending(self, account: AccountRef) -> Iterator[PendingTransfer]:
        """See the port; an empty list would be a pretence, so every platform says where its own comes from."""

    def cancel(self, account: AccountRef, transaction: str, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        raise self._lacking(Capability.CANCEL_PENDING)

    def cancelled(self, transaction: str) -> Verdict:  # noqa: ARG002  there is no such call
        """See the port."""
        return Verdict.CANNOT_TELL

    def broadcast(self, account: AccountRef) -> Iterator[PendingTransfer]:  # noqa: ARG002  there is no such call
        """See the port; an empty list would be a pretence."""
        raise self._lacking(Capability.DROP_BROADCAST)

    def drop(self, account: AccountRef, transaction: str, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        raise self._lacking(Capability.DROP_BROADCAST)

    dropped = cancelled

    def lock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt:  # noqa: ARG002  no such call
        """See the port."""
        raise self._lacking(Capability.LOCK_DESTINATION)

    def destination_locked(self, destination: str) -> Verdict:  # noqa: ARG002  there is no such call
        """See the port."""
        return Verdict.CANNOT_TELL

    def unlock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt:  # noqa: ARG002  no such call
        """See the port."""
        raise self._lacking(Capability.LOCK_DESTINATION)

    def revoke_credential(self, account: AccountRef | None, actor: str, *, key: str) -> Receipt:  # noqa: ARG002  no such call
        """See the port."""
        raise self._lacking(Capability.REVOKE_CREDENTIAL)

    def credential_revoked(self, actor: str) -> Verdict:  # noqa: ARG002  there is no such call
        """See the port."""
        return Verdict.CANNOT_TELL

    def forbid_one_time_addresses(self, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        raise self._lacking(Capability.FORBID_ONE_TIME_ADDRESSES)

    def one_time_addresses_forbidden(self) -> Verdict:
        """See the port."""
        return Verdict.CANNOT_TELL

    def allow_one_time_addresses(self, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        raise self._lacking(Capability.FORBID_ONE_TIME_ADDRESSES)

    def freeze_workspace(self, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        raise self._lacking(Capability.FREEZE_WORKSPACE)

    def workspace_frozen(self) -> Verdict:
        """See the port."""
        return Verdict.CANNOT_TELL

    def freeze_account(self, account: AccountRef, *, seconds: int, key: str) -> Receipt:  # noqa: ARG002  no such call
        """See the port."""
        raise self._lacking(Capability.FREEZE_ACCOUNT)

    def account_frozen(self, account: AccountRef, *, seconds: int) -> Verdict:  # noqa: ARG002  there is no such call
        """See the port."""
        return Verdict.CANNOT_TELL

    def publish_address(self, account: AccountRef, address: str, *, key: str) -> Receipt:  # noqa: ARG002  no such call
        """See the port."""
        raise self._lacking(Capability.PUBLISH_ADDRESS)

    def address_published(self, account: AccountRef, address: str) -> Verdict:  # noqa: ARG002  there is no such call
        """See the port."""
        return Verdict.CANNOT_TELL

    def pending_changes(self) -> Iterator[PendingChange]:
        """See the port; an empty list would be a pretence."""
        raise self._lacking(Capability.REJECT_CHANGES)

    def reject_change(self, change: str, *, key: str) -> Receipt:  # noqa: ARG002  there is no such call
        """See the port."""
        raise self._lacking(Capability.REJECT_CHANGES)

    def change_rejected(self, change: str) -> Verdict:  # noqa: ARG002  there is no such call
        """See the port."""
        return Verdict.CANNOT_TELL

    def _lacking(self, capability: Capability) -> MissingCapabilityError:
        return MissingCapabilityError(self.lacks(capability))


class GateHeldCalls(LackingCalls):
    """What our own gate does for a platform that asks it before signing: holds of accounts and of destinations."""

    ours = GATED

    def __init__(self, config: ConnectionConfig, holds: GateHolds, missing: Mapping[Capability, str]) -> None:
        super().__init__(config, missing)
        self._holds = holds

    def hold_outgoing(self, account: AccountRef, *, key: str) -> Receipt:
        """See the port."""
        self._require(Capability.HOLD_OUTGOING)
        return self._holds.place(account.connection, "account", account.ref, key=key)

    def outgoing_held(self, account: AccountRef) -> Verdict:
        """See the port."""
        return self._holds.held(account.connection, "account", account.ref)

    def release_outgoing(self, account: AccountRef, *, key: str) -> Receipt:
        """See the port."""
        return self._holds.release(account.connection, "account", account.ref, key=key)

    def lock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt:  # noqa: ARG002  for all
        """See the port; our gate refuses the destination for every account of the connection."""
        self._require(Capability.LOCK_DESTINATION)
        return self._holds.place(self._config.id, "destination", destination, key=key)

    def destination_locked(self, destination: str) -> Verdict:
        """See the port."""
        return self._holds.held(self._config.id, "destination", destination)

    def unlock_destination(self, account: AccountRef | None, destination: str, *, key: str) -> Receipt:  # noqa: ARG002  for all
        """See the port."""
        return self._holds.release(self._config.id, "destination", destination, key=key)

    def _require(self, capability: Capability) -> None:
        if capability not in self.capabilities:
            raise self._lacking(capability)


class GatedCalls(GateHeldCalls):
    """Our own gate alone, as far as the wallet's signers ask it."""

    @property
    def capabilities(self) -> frozenset[Capability]:
        """Nothing where the signers do not ask our gate."""
        return GATED if self._config.settings.get(ASKS_GATE) == "yes" else frozenset()

    def pending(self, account: AccountRef) -> Iterator[PendingTransfer]:
        """See the port; what its events told."""
        yield from self._holds.known_pending(account)

    def _out_of_reach(self, capability: Capability) -> str:
        return (
            f"connection {self._config.id} has no {capability.value}: its signers do not ask our gate ({ASKS_GATE}), stop"
            " them by hand"
        )
