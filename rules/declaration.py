"""The fields of a detector file, and what each may hold.

Rules enforced here:
- Every field is bounded and typed; an unknown field is refused, so that a misspelt one is never ignored.
- How far a rule is trusted is ordered: draft and retired are not run; shadow runs and decides nothing; canary decides in
  full for a share of entities and nothing elsewhere; live decides. ``Declaration.trust`` is that order as one number.
- An exception names one entity exactly (no patterns), who asked for it, why, and until when (RFC 3339, with an offset).
  It silences this detector alone. It counts up to, not at, its expiry in event time, so that replay agrees.
"""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec

from rules.signal import Severity

Playbook = Literal["drain", "account_takeover", "insider_policy_change", "signing_tampering", "listed_destination"]
Operator = Literal[">=", ">", "<=", "<", "=="]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]
Id = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{2,63}$")]
Tag = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,63}$")]
Entity = Annotated[
    str, msgspec.Meta(pattern=r"^(account|actor|destination|device|network|peer_group):[^\s*?][^*?]*$", max_length=420)
]

MAX_EXCEPTIONS: Final = 200
MAX_TAGS: Final = 20
_MICROSECOND: Final = 1_000_000


class Status(StrEnum):
    """How far a detector is trusted."""

    DRAFT = "draft"
    SHADOW = "shadow"
    CANARY = "canary"
    LIVE = "live"
    RETIRED = "retired"


class Guard(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The cheap condition: a feature's value (or ``NAME_surprise``) compared with a number. NaN never passes."""

    feature: str
    op: Operator
    number: float

    def __str__(self) -> str:
        return f"{self.feature} {self.op} {self.number:g}"


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An example: values of features (all others unknown) and whether the detector fires.

    ``history`` says whether the entity was learned often enough; every detector shows at least one case of each. ``none``
    is somebody never seen before, or only in what the case itself tells of: the numbers are those that an engine measures
    which knew neither the account nor the actor.
    """

    name: Text
    expect: Literal["fires", "silent"]
    kind: Text
    features: dict[str, float]
    history: Literal["enough", "none"] = "enough"
    destination_kind: str = ""


class Exemption(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of ``exceptions``: findings on ``entity`` (``account:ID``, ``actor:ID`` …) decide nothing for a while."""

    entity: Entity
    owner: Text
    reason: Text
    expires: Annotated[datetime, msgspec.Meta(tz=True)]

    @property
    def sort(self) -> str:
        """What the entity is: account, actor, destination, device, network or peer_group."""
        return self.entity.partition(":")[0]

    @property
    def name(self) -> str:
        """The entity's id without what it is."""
        return self.entity.partition(":")[2]

    @property
    def until_us(self) -> int:
        """The expiry in UTC epoch microseconds."""
        return int(self.expires.timestamp()) * _MICROSECOND + self.expires.microsecond

    def counts_at(self, at_us: float) -> bool:
        """Whether it has not expired at an event time."""
        return at_us < self.until_us

    def __str__(self) -> str:
        return f"{self.entity} until {self.expires.isoformat()}, {self.owner}: {self.reason}"


class Declaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a detector file. ``canary`` is the share of entities in per cent, told with that status only."""

    id: Id
    version: Annotated[int, msgspec.Meta(ge=1)]
    status: Status
    canary: Annotated[int, msgspec.Meta(ge=1, le=99)] | None = None
    title: Text
    severity: Severity
    decision: Literal["alert", "hold"]
    kinds: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1, max_length=40)]
    guard: Guard
    expr: Annotated[str, msgspec.Meta(min_length=1)]
    playbook: Playbook
    tags: Annotated[tuple[Tag, ...], msgspec.Meta(max_length=MAX_TAGS)]
    runbook: Annotated[str, msgspec.Meta(pattern=r"^docs/runbooks/detector/[a-z0-9-]+\.md$")]
    exceptions: Annotated[tuple[Exemption, ...], msgspec.Meta(max_length=MAX_EXCEPTIONS)] = ()
    cases: Annotated[tuple[Case, ...], msgspec.Meta(min_length=3, max_length=100)]

    @property
    def runs(self) -> bool:
        """Whether it is evaluated at all."""
        return self.status in _RUNNING

    @property
    def trust(self) -> float:
        """How far it may decide: 0 not run, 1 shadow, between 2 and 3 canary by its share, 4 live."""
        if self.status is Status.CANARY:
            return 2.0 + (self.canary or 0) / 100.0
        return _TRUST[self.status]

    @property
    def standing(self) -> str:
        """The status in words, a canary's with its share."""
        return f"canary {self.canary} %" if self.status is Status.CANARY else self.status.value


_RUNNING: Final = frozenset({Status.SHADOW, Status.CANARY, Status.LIVE})
_TRUST: Final = {Status.DRAFT: 0.0, Status.RETIRED: 0.0, Status.SHADOW: 1.0, Status.LIVE: 4.0}
