"""What a detector file declares.

Rules enforced here:
- A detector is one YAML file: a numeric guard that is cheap to check, and an expression that runs only when the guard
  holds. The guard is part of the meaning: wherever it is false, the expression must be false too (conformance).
- ``shadow`` is evaluated and shown but decides nothing; ``canary`` may alert but not hold; ``draft`` and ``retired`` are
  not evaluated.
- An expression that gives no answer is counted and fails closed: a hold before money or signatures move, an alert for
  access and governance.
"""

import operator
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Annotated, Final, Literal

import msgspec

from rules.errors import EvaluationError
from rules.expression import NUMBERS, TEXTS, Expression
from rules.features.amount import SHARE_OF_BALANCE, balance_note
from rules.features.catalogue import BY_NAME, Family, family_of
from rules.features.frame import Frame
from rules.signal import Decision, Reason, Severity, Signal

Playbook = Literal["drain", "account_takeover", "insider_policy_change", "signing_tampering"]
Operator = Literal[">=", ">", "<=", "<", "=="]
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=400)]

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
}
_FAILS_TO: Final = {Family.MONEY: Decision.HOLD, Family.SIGNING: Decision.HOLD}


CompiledGuard = tuple[int, bool, Callable[[float, float], bool], float]
"""Feature index, whether its surprisal is meant, comparison, number."""


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


class Case(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An example: values of features (all others unknown) and whether the detector fires.

    ``history`` says whether the entity was learned often enough; every detector shows at least one case of each.
    """

    name: Text
    expect: Literal["fires", "silent"]
    kind: Text
    features: dict[str, float]
    history: Literal["enough", "none"] = "enough"
    destination_kind: str = ""


class Declaration(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The fields of a detector file."""

    id: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{2,63}$")]
    version: Annotated[int, msgspec.Meta(ge=1)]
    status: Status
    title: Text
    severity: Severity
    decision: Literal["alert", "hold"]
    kinds: Annotated[tuple[Text, ...], msgspec.Meta(min_length=1)]
    guard: Guard
    expr: Text
    playbook: Playbook
    tags: tuple[Text, ...]
    runbook: Annotated[str, msgspec.Meta(pattern=r"^docs/runbooks/detector/[a-z0-9-]+\.md$")]
    cases: Annotated[tuple[Case, ...], msgspec.Meta(min_length=3)]


class Detector:
    """A compiled detector. ``errors`` counts evaluations without an answer since start."""

    def __init__(self, declaration: Declaration, expression: Expression) -> None:
        self.declaration = declaration
        self.expression = expression
        self.errors = 0
        name = declaration.guard.feature
        self.guard: CompiledGuard = (
            NUMBERS[name.removesuffix("_surprise")],
            name not in NUMBERS,
            _OPERATORS[declaration.guard.op],
            declaration.guard.number,
        )
        self._shown = tuple(
            dict.fromkeys(NUMBERS[name.removesuffix("_surprise")] for name in expression.names if name not in TEXTS)
        )

    @property
    def id(self) -> str:
        """The detector's unique id."""
        return self.declaration.id

    @property
    def decides(self) -> Decision:
        """The strongest decision it may cause in its present status."""
        if self.declaration.status is Status.LIVE:
            return Decision(self.declaration.decision)
        return Decision.ALERT if self.declaration.status is Status.CANARY else Decision.ALLOW

    @property
    def runs(self) -> bool:
        """Whether it is evaluated at all."""
        return self.declaration.status in {Status.SHADOW, Status.CANARY, Status.LIVE}

    def covers(self, kind: str) -> bool:
        """Whether a kind of activity is in its filter; ``withdrawal.*`` covers every withdrawal."""
        head = kind.partition(".")[0] + ".*"
        return kind in self.declaration.kinds or head in self.declaration.kinds

    def guard_holds(self, values: list[float], surprise: list[float]) -> bool:
        """Whether the guard lets the expression run."""
        index, surprising, compare, number = self.guard
        return compare(surprise[index] if surprising else values[index], number)

    def evaluate(self, frame: Frame, shares: Mapping[int, float]) -> Signal | None:
        """The signal for a measured activity whose guard holds, or ``None``. ``shares`` by feature index."""
        told = frame.observation
        texts = {"kind": told.kind, "destination_kind": told.destination_kind or ""}
        try:
            if not self.expression.holds(frame.values, frame.surprise, texts):
                return None
        except EvaluationError:
            self.errors += 1
            return self._signal(frame, shares, broken=True)
        return self._signal(frame, shares, broken=False)

    def _signal(self, frame: Frame, shares: Mapping[int, float], *, broken: bool) -> Signal:
        declared = self.declaration
        decision = self.decides
        if broken and decision is not Decision.ALLOW:
            decision = _FAILS_TO.get(family_of(frame.observation.kind), Decision.ALERT)
        reasons = tuple(
            reason_for(frame, index, shares.get(index, 0.0), self.id)
            for index in self._shown
            if frame.values[index] == frame.values[index]
        )
        return Signal(
            detector=self.id,
            version=declared.version,
            severity=declared.severity,
            decision=decision,
            title=f"{declared.title} (rule broken, failing closed)" if broken else declared.title,
            runbook=declared.runbook,
            playbook=declared.playbook,
            tags=declared.tags,
            reasons=reasons,
            shadow=declared.status is Status.SHADOW,
            error=broken,
        )


def reason_for(frame: Frame, index: int, share: float, detector: str | None) -> Reason:
    """A feature's observed and usual value in words."""
    feature = _FEATURES[index]
    usual = frame.usual[index]
    known = usual == usual  # noqa: PLR0124 -- false only for NaN
    return Reason(
        feature=feature.name,
        observed=feature.show(frame.values[index]) + (balance_note(frame) if index == SHARE_OF_BALANCE else ""),
        usual=feature.show_usual(usual) if known else "no history",
        share=share,
        detector=detector,
    )


_FEATURES: Final = tuple(BY_NAME.values())
