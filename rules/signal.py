"""What the engine says about one activity.

Rules enforced here:
- A score is additive: each reason's ``share`` is its part of the score, shares of reasons without a detector sum to at
  most one, so the explanation is the score.
- ``allow``, ``alert`` and ``hold`` are ordered; the stronger one wins. ``not_enough`` history is never shown as normal.
"""

from enum import StrEnum

import msgspec


class Decision(StrEnum):
    """What to do with the activity, weakest first."""

    ALLOW = "allow"
    ALERT = "alert"
    HOLD = "hold"

    @property
    def strength(self) -> int:
        """0 for allow, 1 for alert, 2 for hold."""
        return _STRENGTH[self]


_STRENGTH = {Decision.ALLOW: 0, Decision.ALERT: 1, Decision.HOLD: 2}


def stronger(one: Decision, other: Decision) -> Decision:
    """The stronger of two decisions."""
    return one if one.strength >= other.strength else other


class History(StrEnum):
    """Whether the entity itself was learned often enough for the score to be its own."""

    ENOUGH = "enough"
    NOT_ENOUGH = "not_enough"


class Severity(StrEnum):
    """How bad a detector's finding is, mildest first."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    CRITICAL = "critical"

    @property
    def rank(self) -> int:
        """0 for low up to 3 for critical."""
        return list(Severity).index(self)


class Reason(msgspec.Struct, frozen=True):
    """One measured value that speaks against the activity.

    ``observed`` and ``usual`` are short texts with units. ``share`` in [0, 1] is the part of the score it makes up.
    ``detector`` is the id of the rule that used it, or ``None`` for the score itself.
    """

    feature: str
    observed: str
    usual: str
    share: float
    detector: str | None = None


class Signal(msgspec.Struct, frozen=True):
    """One detector's finding.

    ``decision`` is what counts: a shadow detector always says ``allow``. ``error`` is true when the rule could not be
    evaluated and failed closed. ``status`` is how far the detector is trusted, in words; ``shadow`` is true where it
    decides nothing for that reason, which for a canary is outside its share. ``silenced`` says which exception or
    suppression lets the finding decide nothing.
    """

    detector: str
    version: int
    severity: Severity
    decision: Decision
    title: str
    runbook: str
    playbook: str | None
    tags: tuple[str, ...] = ()
    reasons: tuple[Reason, ...] = ()
    shadow: bool = False
    error: bool = False
    status: str = "live"
    silenced: str | None = None


class Assessment(msgspec.Struct, frozen=True):
    """All findings on one activity.

    ``score`` is -log10 of ``p_value``, finite and never negative. ``tail`` is true when the p-value is beyond what
    recent scores resolve and comes from the declared exponential tail. ``calibrated`` is false while too few scores
    were seen for the p-value to decide anything. ``playbook`` is the kind of incident suggested. ``reasons`` are told
    when something was decided or the score is 1 or more; so is ``judged``, which a verdict's row gives back.
    ``silenced`` says which suppression let the score decide nothing.
    """

    score: float
    p_value: float
    decision: Decision
    history: History
    reasons: tuple[Reason, ...] = ()
    signals: tuple[Signal, ...] = ()
    playbook: str | None = None
    tail: bool = False
    calibrated: bool = True
    judged: tuple[float, ...] = ()
    silenced: str | None = None
