"""The policy in force: who must approve what, for how long a request stands, and how wide containment may act alone.

Rules: every kind of request has a quorum, and a request without one is refused, never let through; a group of zero is
refused where it is declared; the policy is signed by the authority's vote key, and a document approved under one policy
does not authorise anything under another (design D4, D7). Amounts are decimal strings of USD, times whole seconds.
What could stand in for a loosening takes no fewer people than it, whatever number is set for it: saying that a step did
not happen or that one which loosens did (`domain/settlement.py`), and where letters to issuers go, which is a contact like
a channel or a person's reach.
"""

import json
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import Final

import msgspec

from service.domain.canonical import canonical, digest
from service.domain.errors import ApprovalError, ConfigurationError, InputError
from service.domain.issuer import Issuer, require_distinct
from service.domain.matching import Holders, missing, winnable_without_any_one
from service.domain.quorum import Approval, Group, Quorum, Role, at_least
from service.domain.signed import Signed, opened

TAG: Final = "portcullis/policy/v1"
MAX_PLACES: Final = 20
MAX_WINDOW_S: Final = 7 * 86_400
HOUR_S: Final = 3_600
VOTING_ROLES: Final = frozenset({Role.RESPONDER, Role.APPROVER, Role.TREASURY, Role.ADMIN})

GENERAL_QUORUMS: Final[Mapping[str, Quorum]] = {
    "change": Quorum.of(2, Role.ADMIN),
    "mandate": Quorum.of(2, Role.APPROVER),
    "message": Quorum.of(1, Role.APPROVER),
    "escalation": Quorum.of(1, Role.APPROVER),
    "blind": Quorum.of(2, Role.APPROVER),
    "settle": Quorum.of(1, Role.APPROVER),
    "settle.did_not_happen": Quorum.of(2, Role.APPROVER),
}
"""Requests that are no containment action: a change of the registry, a mandate, messages to users, paging beyond level
one, anything that makes the engine see less, and what became of a step whose outcome nobody could tell.
`change.person` and so on may have quorums of their own."""
_DENIAL: Final = "settle.did_not_happen"
_NO_FEWER_THAN: Final[Mapping[str, tuple[str, ...]]] = {
    "change.policy.issuers": ("change.policy.replace", "change.channel.put", "change.person.reach"),
}


class Place(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """`[count, role]`: so many distinct persons holding the role."""

    count: int
    role: Role


class BlastLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How much containment may touch per connection and hour without asking; the gate's holds do not count.

    Both numbers count twice: once for what alerts name, and once more for multisigs that are merely near and locked
    because their signers were deceived (ADR 0049). Destinations, credentials and transactions have a limit of their own
    that follows `accounts_per_hour` (`playbooks/scene.py: OTHERS_PER_ACCOUNT`).
    """

    accounts_per_hour: int
    value_usd_per_hour: str

    def __post_init__(self) -> None:
        if not 1 <= self.accounts_per_hour <= 1_000_000:  # noqa: PLR2004  bounds stated in the message
            raise InputError("accounts_per_hour is 1 to 1000000", field="blast_radius.accounts_per_hour")
        try:
            fine = Decimal(self.value_usd_per_hour) > 0 and Decimal(self.value_usd_per_hour).is_finite()
        except InvalidOperation:
            fine = False
        if not fine:
            raise InputError("value_usd_per_hour is a positive decimal string", field="blast_radius.value_usd_per_hour")


class MandateRules(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may be approved in advance, and for how long at most."""

    longest_s: int
    scopes: tuple[str, ...]


class Policy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One version of the policy. Raises InputError for a value out of range, naming the field.

    A field that has a default is not spelt while it has it, so that a policy from before the field keeps its digest.
    """

    tag: str
    version: int
    quorums: dict[str, tuple[Place, ...]]
    approve_within_s: int
    execute_within_s: int
    blast_radius: BlastLimits
    mandates: MandateRules
    issuers: tuple[Issuer, ...] = ()
    """Who can freeze a token, and where a letter to him goes."""

    def __post_init__(self) -> None:
        if self.tag != TAG:
            raise InputError(f"a policy's tag is {TAG}", field="tag")
        for name in ("approve_within_s", "execute_within_s"):
            if not 60 <= getattr(self, name) <= MAX_WINDOW_S:  # noqa: PLR2004  stated in the message
                raise InputError(f"{name} is 60 to {MAX_WINDOW_S} seconds", field=name)
        for action, group in self.quorums.items():
            _quorum(action, group)
        require_distinct(self.issuers)

    def quorum(self, action: str) -> Quorum:
        """Return who must approve an action: its own quorum, else that of the words before its last dot, and so on.

        Raises ApprovalError when the policy says nothing about it: unknown never means free.
        """
        words = action.split(".")
        names = [".".join(words[:end]) for end in range(len(words), 0, -1)]
        name = next((name for name in names if name in self.quorums), None)
        if name is None:
            raise ApprovalError(f"the policy in force has no quorum for {action}: add one by a policy change")
        found = _quorum(name, self.quorums[name])
        if _DENIAL in names and name != _DENIAL:
            found = at_least(found, GENERAL_QUORUMS[_DENIAL])
        for other in _no_fewer_than(action):
            found = at_least(found, self.quorum(other))
        return found

    @property
    def text(self) -> str:
        """The canonical bytes, as stored and signed."""
        return canonical(msgspec.to_builtins(self)).decode()

    @property
    def digest(self) -> str:
        """What action documents name."""
        return digest(TAG, msgspec.to_builtins(self))


def parse_policy(fields: Mapping[str, object]) -> Policy:
    """Return the policy in `fields`. Raises InputError naming the field."""
    try:
        return msgspec.convert(fields, Policy)
    except msgspec.ValidationError as error:
        raise InputError(f"the policy is malformed: {error}", field="policy") from error


def parse_policy_text(text: str) -> Policy:
    """Return the policy in a stored text, whose signature the caller has checked or does not rely on."""
    try:
        fields = json.loads(text)
    except ValueError as error:
        raise InputError("the stored policy is not JSON", field="policy") from error
    if not isinstance(fields, dict):
        raise InputError("the stored policy is not an object", field="policy")
    return parse_policy(fields)


@lru_cache(maxsize=4)
def policy_in_force(signed: Signed | None, public_key_pem: bytes) -> Policy:
    """Return the signed policy, verified. Raises ApprovalError when there is none or its signature is not good.

    What was found good stays so: it is remembered by its exact text, signature and key, because every hold asks for it.
    """
    if signed is None:
        raise ApprovalError("no policy is in force: complete the set-up")
    return parse_policy(opened(signed, TAG, public_key_pem))


def default_policy(declared: Mapping[str, Approval], changes: Mapping[str, object] | None = None) -> Policy:
    """Return version 1: every action's declared quorum, with `changes` laid over it field by field.

    `declared` maps action names to what their declarations demand; a pre-authorised action has the quorum that it needs
    once the hour's blast radius is used up. Raises InputError naming a wrong field of `changes`.
    """
    own = {name: a if isinstance(a, Quorum) else a.beyond_limit for name, a in declared.items()}
    fields: dict[str, object] = {
        "tag": TAG,
        "version": 1,
        "quorums": {name: _places(quorum) for name, quorum in {**GENERAL_QUORUMS, **own}.items()},
        "approve_within_s": 4 * HOUR_S,
        "execute_within_s": 12 * HOUR_S,
        "blast_radius": {"accounts_per_hour": 50, "value_usd_per_hour": "1000000000"},
        "mandates": {"longest_s": 30 * 86_400, "scopes": ["escalation"]},
        "issuers": [],
    }
    return parse_policy(laid_over(fields, changes or {}))


def changed_policy(old: Policy, changes: Mapping[str, object]) -> Policy:
    """Return the next version of a policy with `changes` laid over it. Raises InputError naming a wrong field."""
    every = {"issuers": [], **msgspec.to_builtins(old)}
    return parse_policy({**laid_over(every, changes), "version": old.version + 1})


def laid_over(fields: Mapping[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Return `fields` with `changes` laid over them, one level deep. Raises InputError for an unknown field."""
    unknown = sorted(set(changes) - (set(fields) - {"tag", "version"}))
    if unknown:
        raise InputError(f"a policy has no field {unknown[0]!r} that can be set", field=unknown[0])
    merged = dict(fields)
    for name, value in changes.items():
        old = merged[name]
        merged[name] = {**old, **value} if isinstance(old, dict) and isinstance(value, dict) else value
    return merged


def require_winnable(policy: Policy, holders: Holders) -> None:
    """Raise ConfigurationError for a quorum that could not be filled if one of its own people made the request."""
    for action in sorted(policy.quorums):
        quorum = policy.quorum(action)
        if not winnable_without_any_one(quorum, holders):
            wanted = " and ".join(f"{group.count} x {group.role}" for group in quorum.groups)
            raise ConfigurationError(
                f"the quorum for {action} ({wanted}) cannot be won by the people who are active and enrolled, because a "
                f"requester does not count: add and enrol {_lacking(quorum, holders)}, or lower the quorum",
                field=f"quorums.{action}",
            )


def made_harder(policy: Policy, before: Holders, after: Holders) -> str | None:
    """Return an action whose quorum lacks more people with `after` than with `before`, whoever asks; None without any.

    Not the same as one that cannot be won afterwards: that may have been so before, and can still get worse.
    """
    for action in sorted(policy.quorums):
        quorum = policy.quorum(action)
        for requester in ("", *before):
            lacked, lacks = (len(missing(quorum, _but(requester, holders))) for holders in (before, after))
            if lacks > lacked:
                return action
    return None


def _lacking(quorum: Quorum, holders: Holders) -> str:
    """Name the roles of the places that stay empty when the one who is missed most makes the request."""
    others = [_but(requester, holders) for requester in holders] or [{}]
    worst = max((missing(quorum, left) for left in others), key=len)
    return " and ".join(f"{count} x {role}" for role, count in Counter(worst).items())


def _but(requester: str, holders: Holders) -> Holders:
    return {person: roles for person, roles in holders.items() if person != requester}


def _no_fewer_than(action: str) -> tuple[str, ...]:
    """Return the actions whose quorums an action's own may not undercut; `settle.OUTCOME.ACTION` names one."""
    if action.startswith("settle.") and action.count(".") == 2:  # noqa: PLR2004  three words
        return (action.rpartition(".")[2],)
    return _NO_FEWER_THAN.get(action, ())


def _quorum(action: str, group: tuple[Place, ...]) -> Quorum:
    try:
        quorum = Quorum(tuple(Group(place.count, place.role) for place in group))
    except ValueError as error:
        raise InputError(f"{action}: {error}", field=f"quorums.{action}") from error
    if quorum.size > MAX_PLACES:
        raise InputError(f"{action}: at most {MAX_PLACES} persons", field=f"quorums.{action}")
    if not {g.role for g in quorum.groups} <= VOTING_ROLES:
        raise InputError(f"{action}: only {', '.join(sorted(VOTING_ROLES))} vote", field=f"quorums.{action}")
    return quorum


def _places(quorum: Quorum) -> list[list[object]]:
    return [[group.count, group.role.value] for group in quorum.groups]
