"""The workspace's audit log as access and governance events: what Fireblocks sends no webhook for (logins, users, policy).

Rules: asked in ascending order by time, with five minutes of overlap, because lines may appear late; a line's own id keeps
it from being counted twice. The log's words are not an API: a line whose words we do not know is stored and means nothing.
So is a line that we cannot read, cut to a bounded length: one odd line must not hide those behind it. A change that was
refused or withdrawn changed nothing.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import httpx
import msgspec
import structlog

from service.custody.fireblocks.api import FireblocksApi
from service.domain.activity import MAX_ID_LENGTH, Activity
from service.domain.errors import InputError, UnavailableError
from service.ports.custody import ConnectionConfig, Polled, PolledEvent, SignHere

POLL_SETTING: Final = "poll_every_s"
OVERLAP: Final = timedelta(minutes=5)
LEAST_S: Final = 10
MOST_S: Final = 3600
_PAGE: Final = 500
_MAX_PAGES: Final = 10
_MILLISECOND: Final = timedelta(milliseconds=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST_MS: Final = 4_102_444_800_000
_MAX_RAW: Final = 65_536
"""Bytes of a line that are kept; those of a line that is read are far fewer."""
_UNREADABLE: Final = "audit line not understood"
_WORD: Final = re.compile(r"[a-z0-9]+", re.ASCII)
_NOTHING_CHANGED: Final = frozenset({"rejected", "canceled", "cancelled", "expired", "requested", "pending"})
_ADDED: Final = frozenset({"added", "created", "invited", "approved", "enrolled", "paired", "enabled", "set"})
_REMOVED: Final = frozenset({"removed", "deleted", "revoked", "disabled", "unpaired", "blocked"})
_CHANGED: Final = frozenset({"changed", "updated", "edited", "published", "reset"}) | _ADDED | _REMOVED
_LOGIN: Final = frozenset({"login", "logged", "signin"})
_FACTOR: Final = frozenset({"2fa", "mfa", "otp", "authenticator", "passkey"})
_KINDS: Final[tuple[tuple[str, tuple[frozenset[str], ...]], ...]] = (
    ("access.login_failed", (_LOGIN, frozenset({"failed", "failure", "denied", "blocked"}))),
    ("access.login_succeeded", (_LOGIN,)),
    ("access.password_changed", (frozenset({"password"}), _CHANGED)),
    ("access.mfa_reset", (_FACTOR, frozenset({"reset"}) | _REMOVED)),
    ("access.mfa_enrolled", (_FACTOR, _ADDED)),
    ("access.device_enrolled", (frozenset({"device"}), _ADDED | {"reset", "reenrolled"})),
    ("access.api_key_revoked", (frozenset({"api"}), frozenset({"user", "key"}), _REMOVED)),
    ("access.api_key_created", (frozenset({"api"}), frozenset({"user", "key"}), _ADDED)),
    ("governance.quorum_changed", (frozenset({"quorum", "threshold"}), _CHANGED)),
    ("governance.role_changed", (frozenset({"role", "roles", "group", "permissions"}), _CHANGED)),
    ("governance.user_added", (frozenset({"user"}), _ADDED)),
    ("governance.destination_whitelisted", (frozenset({"wallet", "address", "exchange", "fiat"}), _ADDED)),
    (
        "governance.policy_changed",
        (frozenset({"policy", "tap", "ota", "whitelisted", "callback", "webhook"}), _CHANGED),
    ),
)
"""The first whose every group has a word in the line's subject and event."""

_log = structlog.get_logger(__name__)

Text = Annotated[str, msgspec.Meta(max_length=2_000)]


Moment = Annotated[float, msgspec.Meta(ge=0, le=_LATEST_MS)]


class Timed(msgspec.Struct, frozen=True):
    """What is wanted of a line that is not read: how far the log was asked."""

    timestamp: Moment


class AuditLine(msgspec.Struct, frozen=True, rename="camel"):
    """One line, as far as we read it."""

    id: Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_ID_LENGTH - 10)]
    timestamp: Moment
    subject: Text = ""
    event: Text = ""
    category: Text = ""
    user_id: Text = ""
    user: Text = ""


class Page(msgspec.Struct, frozen=True):
    """One page of lines, each as it came."""

    data: tuple[object, ...] = ()
    next: str | None = None


class AuditLog:
    """Implements `ports.custody.EventSource` for one workspace."""

    def __init__(self, config: ConnectionConfig, sign: SignHere | None, client: httpx.Client | None = None) -> None:
        self._connection = config.id
        self._api = FireblocksApi(config, sign, client)

    def poll(self, cursor: str | None, *, now: datetime) -> Polled:
        """Return what is new; see the port. The cursor is the time in milliseconds from which is asked next."""
        start = _ms(now - OVERLAP) if cursor is None else int(cursor)
        query = {"startTime": str(start), "order": "ASC", "pageSize": str(_PAGE)}
        events: list[PolledEvent] = []
        newest, latest = start, _ms(now + OVERLAP)  # a line that says it is of next year must not hide this one
        for _ in range(_MAX_PAGES):
            page = self._page(query)
            for raw in map(_raw, page.data):
                line = _line(raw)
                events.append(_unread(raw) if line is None else self._event(line, raw))
                newest = max(newest, min(_time_of(raw), latest))
            if page.next is None:
                return Polled(tuple(events), str(max(start, newest - OVERLAP // _MILLISECOND)))
            query = {**query, "pageCursor": page.next}
        return Polled(tuple(events), str(max(start, newest)))

    def close(self) -> None:
        """Let go of the line; see the port."""
        self._api.close()

    def _page(self, query: dict[str, str]) -> Page:
        told = self._api.ask("/management/audit_logs", query)
        try:
            return msgspec.convert(told, Page)
        except msgspec.MsgspecError as error:
            raise UnavailableError(f"the audit log is not understood: {error}", retry_after_s=60) from error

    def _event(self, line: AuditLine, raw: bytes) -> PolledEvent:
        event_id = f"audit:{line.id}"
        kind = kind_of(line.subject, line.event)
        actor = (line.user_id or line.user)[:MAX_ID_LENGTH]
        activity = None
        if kind is not None and actor:
            at = _EPOCH + timedelta(milliseconds=line.timestamp)
            activity = Activity(connection=self._connection, event_id=event_id, kind=kind, occurred_at=at, actor=actor)
        return PolledEvent(event_id, activity, _shown(f"{line.subject} {line.event}")[:MAX_ID_LENGTH], raw[:_MAX_RAW])


def check_settings(settings: Mapping[str, str]) -> None:
    """Raise InputError naming the setting."""
    told = settings.get(POLL_SETTING, "")
    if told and not (told.isascii() and told.isdigit() and LEAST_S <= int(told) <= MOST_S):
        raise InputError(f"{POLL_SETTING} must be a number of seconds from {LEAST_S} to {MOST_S}", field=POLL_SETTING)
    if told and not settings.get("api_base_url"):
        raise InputError("api_base_url is missing: the audit log cannot be asked for", field="api_base_url")


def kind_of(subject: str, event: str) -> str | None:
    """Return the activity kind that a line's words stand for; None for words that we do not know."""
    words = frozenset(_WORD.findall(f"{subject} {event}".lower()))
    if words & _NOTHING_CHANGED:
        return None
    return next((kind for kind, groups in _KINDS if all(words & group for group in groups)), None)


def _raw(line: object) -> bytes:
    try:
        return msgspec.json.encode(line)
    except (ValueError, OverflowError):  # half a surrogate pair, a number of more than 64 bits
        return json.dumps(line).encode()


def _time_of(raw: bytes) -> int:
    """Return when a line was written in milliseconds, 0 for one that does not say."""
    try:
        return int(msgspec.json.decode(raw, type=Timed).timestamp)
    except msgspec.MsgspecError:
        return 0


def _line(raw: bytes) -> AuditLine | None:
    """Return the line as far as we read it, None when we cannot: also for an id or user that no row could hold."""
    try:
        line = msgspec.json.decode(raw, type=AuditLine)
    except msgspec.MsgspecError as error:
        _log.error("audit_log.line_not_understood", digest=hashlib.sha256(raw).hexdigest(), reason=str(error)[:200])
        return None
    if not (line.id + line.user_id + line.user).isprintable():
        _log.error("audit_log.line_not_understood", digest=hashlib.sha256(raw).hexdigest(), reason="unprintable id")
        return None
    return line


def _unread(raw: bytes) -> PolledEvent:
    """Return a line that we cannot read as an event that means nothing; its bytes name it."""
    return PolledEvent(f"audit:unread:{hashlib.sha256(raw).hexdigest()}", None, _UNREADABLE, raw[:_MAX_RAW])


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)


def _ms(moment: datetime) -> int:
    return (moment - _EPOCH) // _MILLISECOND


def source(config: ConnectionConfig, sign: SignHere | None) -> AuditLog:
    """Return the audit log of one workspace; goes into the platform's declaration."""
    return AuditLog(config, sign)
