"""Changes of the registry: who decides, what is connected, how people are reached. Each is one item of a document.

Rules: every change but a tightening takes the quorum of its action (`change.person.add` … or `change`); what is asked for
is complete in the item's parameters, secrets only sealed; during first set-up the same values are taken under the
one-time token instead. A tightening is suspending a person, taking a role away, or revoking a factor.
"""

import base64
import binascii
import re
from collections.abc import Mapping
from typing import Final, TypeVar

import msgspec

from service.domain.approval import Item
from service.domain.attention import Audience
from service.domain.ballot import CLIENT_CODE
from service.domain.errors import InputError
from service.domain.ids import looks_like_id
from service.domain.issuer import Issuer, require_distinct
from service.domain.plan import Effect
from service.domain.quorum import Role

SLUG: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}", re.ASCII)
EMAIL: Final = re.compile(r"[^@\s]{1,64}@[^@\s]{1,189}")
CHAIN: Final = re.compile(r"[-a-z0-9]{3,8}:[-_a-zA-Z0-9]{1,32}", re.ASCII)
MAX_TEXT: Final = 200
MAX_VALUE: Final = 8_192
MAX_DESCRIPTOR: Final = 1_000
MAX_SEALED: Final = 100_000
LEVELS: Final = (1, 2, 3)
CHANNEL_KINDS: Final = ("smtp", "slack", "webhook", "apprise")


class Change(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: the parameters of one kind of change."""

    def item(self, action: str, sentence: str) -> Item:
        """Return this change as a document's item."""
        params = msgspec.to_builtins(self)
        effect = Effect.TIGHTENS if action in TIGHTENING else Effect.LOOSENS
        return Item(step="", action=action, effect=effect, target={}, params=params, sentence=sentence)


class NewPerson(Change, frozen=True, kw_only=True):
    """Somebody to add. `id` is given by who asks, so that the document names the person it creates."""

    id: str
    name: str
    email: str
    roles: tuple[Role, ...]
    oncall_level: int | None = None
    channels: tuple[dict[str, str], ...] = ()
    client: str = ""
    """The code of the client that may enrol the first factor; empty for whichever asks first."""

    def __post_init__(self) -> None:
        if not looks_like_id(self.id, "per"):
            raise InputError("id is a person id, per_…", field="id")
        _text(self.name, "name")
        _client(self.client)
        if EMAIL.fullmatch(self.email) is None or not self.email.isprintable():
            raise InputError("email is an address like name@example.org", field="email")
        if not self.roles or len(set(self.roles)) != len(self.roles):
            raise InputError("give at least one role, each once", field="roles")
        _check_reach(self.oncall_level, self.channels)


class PersonRoles(Change, frozen=True, kw_only=True):
    """Exactly the roles a person has from now on; or, for `person.role_remove`, the roles taken away."""

    person: str
    roles: tuple[Role, ...]


class PersonNamed(Change, frozen=True, kw_only=True):
    """A person and nothing else: suspend, restore, revoke the factor."""

    person: str


class NewFactor(Change, frozen=True, kw_only=True):
    """A new factor for a person. `client` is the code of the client that may enrol it; empty for whichever asks first."""

    person: str
    client: str = ""

    def __post_init__(self) -> None:
        _client(self.client)


class PersonReach(Change, frozen=True, kw_only=True):
    """How a person is reached."""

    person: str
    oncall_level: int | None
    channels: tuple[dict[str, str], ...]

    def __post_init__(self) -> None:
        _check_reach(self.oncall_level, self.channels)


class SealedValue(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One secret sealed for the process that opens it; `sealed` in base64."""

    name: str
    opened_by: str
    sealed: str

    def __post_init__(self) -> None:
        _text(self.name, "secrets.name")
        if self.opened_by not in {"api", "containment"}:
            raise InputError("a secret is opened by api or containment", field="secrets.opened_by")
        sealed_bytes(self.sealed, "secrets.sealed")


class ConnectionSetting(Change, frozen=True, kw_only=True):
    """A connection as it shall be; secrets that are not listed stay as they are."""

    id: str
    platform: str
    name: str
    settings: dict[str, str]
    secrets: tuple[SealedValue, ...] = ()
    state: str = "active"

    def __post_init__(self) -> None:
        _slug(self.id, "id")
        _slug(self.platform, "platform")
        _text(self.name, "name")
        if self.state not in {"active", "paused"}:
            raise InputError("state is active or paused", field="state")
        for name, value in self.settings.items():
            _text(name, "settings")
            if len(value) > MAX_VALUE:
                raise InputError(f"a setting has at most {MAX_VALUE} characters", field=f"settings.{name}")


class ChannelSetting(Change, frozen=True, kw_only=True):
    """A delivery channel as it shall be. `config` has no secret in it; its `audiences` are a list, all else is text."""

    id: str
    kind: str
    config: dict[str, str | list[str]]
    sealed_secret: str = ""

    def __post_init__(self) -> None:
        _slug(self.id, "id")
        if self.kind not in CHANNEL_KINDS:
            raise InputError(f"kind is one of {', '.join(CHANNEL_KINDS)}", field="kind")
        for name, value in self.config.items():
            _text(name, "config")
            _check_config(name, value)
        if self.kind == "smtp" and not str(self.config.get("sender", "")).isascii():
            raise InputError("sender is an ASCII address: not every mail server takes another", field="config.sender")
        if self.sealed_secret:
            sealed_bytes(self.sealed_secret, "sealed_secret")


class PolicyChange(Change, frozen=True, kw_only=True):
    """Fields to lay over the policy in force, but its issuers: `IssuersChange` has a quorum of its own."""

    changes: dict[str, object]

    def __post_init__(self) -> None:
        if "issuers" in self.changes:
            raise InputError("issuers are asked for as change.policy.issuers", field="changes.issuers")


class IssuersChange(Change, frozen=True, kw_only=True):
    """The whole list of issuers of tokens, and where letters to them go, as it shall be."""

    issuers: tuple[Issuer, ...]

    def __post_init__(self) -> None:
        require_distinct(self.issuers)

    @property
    def changes(self) -> dict[str, object]:
        """The field to lay over the policy in force."""
        return {"issuers": [msgspec.to_builtins(issuer) for issuer in self.issuers]}


class NewDestination(Change, frozen=True, kw_only=True):
    """A safe destination for a registered account."""

    account: str
    connection: str
    ref: str
    chain: str
    descriptor: str

    def __post_init__(self) -> None:
        check_destination(self.chain, self.descriptor)


class NewMandate(Change, frozen=True, kw_only=True):
    """An approval in advance. `limits` maps a property of an incident to the values it may have."""

    id: str
    scope: str
    limits: dict[str, tuple[str, ...]]
    lasts_s: int

    def __post_init__(self) -> None:
        _text(self.id, "id")
        _text(self.scope, "scope")
        for text in (*self.limits, *(value for values in self.limits.values() for value in values)):
            _text(text, "limits")


CHANGES: Final[Mapping[str, type[Change]]] = {
    "change.person.add": NewPerson,
    "change.person.roles": PersonRoles,
    "change.person.reach": PersonReach,
    "change.person.suspend": PersonNamed,
    "change.person.restore": PersonNamed,
    "change.person.role_remove": PersonRoles,
    "change.factor.enrol": NewFactor,
    "change.factor.revoke": PersonNamed,
    "change.connection.put": ConnectionSetting,
    "change.channel.put": ChannelSetting,
    "change.policy.replace": PolicyChange,
    "change.policy.issuers": IssuersChange,
    "change.destination.register": NewDestination,
    "mandate.grant": NewMandate,
}
"""Every change by its action; a document with any other is refused."""

TIGHTENING: Final = frozenset({"change.person.suspend", "change.person.role_remove", "change.factor.revoke"})

ChangeType = TypeVar("ChangeType", bound=msgspec.Struct)


def read(kind: type[ChangeType], fields: object, field: str) -> ChangeType:
    """Return `fields` as a value of `kind`. Raises InputError naming `field` and what is wrong inside it."""
    try:
        return msgspec.convert(fields, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{field} is malformed: {error}", field=field) from error


def change_of(action: str, params: object) -> Change:
    """Return a document item's change. Raises InputError for an unknown action or malformed parameters."""
    kind = CHANGES.get(action)
    if kind is None:
        raise InputError(
            f"{action!r} is no change of the registry: one of {', '.join(sorted(CHANGES))}", field="action"
        )
    _require_storable(params)
    return read(kind, params, action)


def sentence(action: str, change: Change) -> str:
    """Return a change as people read it."""
    verb = action.partition(".")[2].replace(".", " ").replace("_", " ")
    named = getattr(change, "person", "") or getattr(change, "id", "") or getattr(change, "account", "")
    where = f" to {change.descriptor} on {change.chain}" if isinstance(change, NewDestination) else ""
    client = getattr(change, "client", "")
    only = f", only from the client with the code {_grouped(client)}" if client else ""
    return f"Change of who decides or what is connected: {verb} {named}{where}{only}".rstrip() + "."


def check_destination(chain: str, descriptor: str) -> None:
    """Raise InputError unless chain is CAIP-2 and the descriptor one printable word of at most 1000 characters."""
    if CHAIN.fullmatch(chain) is None:
        raise InputError("chain is a CAIP-2 id such as eip155:1", field="chain")
    if not 0 < len(descriptor) <= MAX_DESCRIPTOR or not descriptor.isprintable() or " " in descriptor:
        raise InputError("descriptor is an address or a BIP-380 descriptor, without blanks", field="descriptor")


def sealed_bytes(text: str, field: str) -> bytes:
    """Return the bytes of a base64 text: still sealed, only decoded. Raises InputError."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise InputError(f"{field} is not base64", field=field) from error
    if not 0 < len(raw) <= MAX_SEALED:
        raise InputError(f"{field} is 1 to {MAX_SEALED} bytes", field=field)
    return raw


def _check_reach(level: int | None, channels: tuple[dict[str, str], ...]) -> None:
    if level is not None and level not in LEVELS:
        raise InputError("oncall_level is 1, 2, 3 or absent", field="oncall_level")
    for route in channels:
        if set(route) != {"channel", "recipient"}:
            raise InputError("each of channels is {channel, recipient}", field="channels")
        _text(route["channel"], "channels.channel")
        _text(route["recipient"], "channels.recipient")


def _check_config(name: str, value: str | list[str]) -> None:
    if name == "audiences":
        if not isinstance(value, list) or not set(value) <= set(Audience):
            raise InputError(f"audiences is a list of {', '.join(Audience)}", field="config.audiences")
        return
    longest = MAX_TEXT if name == "recipient" else MAX_VALUE
    if not isinstance(value, str) or len(value) > longest or not value.isprintable():
        raise InputError(f"{name} is one line of at most {longest} printable characters", field=f"config.{name}")


def _require_storable(params: object) -> None:
    """Raise InputError for a NUL in any text: PostgreSQL keeps none, and the change would fail after it was approved."""
    left = [params]
    while left:
        value = left.pop()
        if isinstance(value, Mapping):
            left += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            left += value
        elif isinstance(value, str) and "\0" in value:
            raise InputError("a text has a NUL character in it, which cannot be stored", field="params")


def _text(value: str, field: str) -> None:
    if not 0 < len(value) <= MAX_TEXT or not value.isprintable():
        raise InputError(f"{field} is one line of 1 to {MAX_TEXT} printable characters", field=field)


def _client(code: str) -> None:
    if code and CLIENT_CODE.fullmatch(code) is None:
        raise InputError("client is a code of 24 of a-z and 2-7, or empty", field="client")


def _grouped(code: str) -> str:
    return "-".join(code[at : at + 4] for at in range(0, len(code), 4))


def _slug(value: str, field: str) -> None:
    if SLUG.fullmatch(value) is None:
        raise InputError(f"{field} is 1 to 40 of a-z, 0-9, _ and -, a letter or digit first", field=field)
