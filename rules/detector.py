"""A compiled detector: what it makes of one measured activity.

Rules enforced here:
- The guard is part of the meaning: wherever it is false, the expression must be false too (conformance). The kernel
  checks guards; the expression runs only behind its guard.
- Everything is read from the frame: values, surprisals and the words of the event's row. A shadow, a canary and a live
  rule therefore see the same snapshot, live and in a back-test.
- A canary decides in full for its share of accounts (of actors where there is no account), chosen by a hash of the
  keyed fingerprint and the detector's id: stable, and not to be guessed by whoever owns the account. Elsewhere, and
  where neither is told, its findings are recorded as a shadow's.
- A finding on an excepted entity is recorded, says by which exception, and decides nothing.
- An expression that gives no answer is counted and fails closed: a hold before money or signatures move, an alert for
  access and governance.
"""

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isnan
from typing import Final

from rules.arrays import F8
from rules.declaration import Declaration, Exemption, Status
from rules.errors import EvaluationError
from rules.event import (
    DESTINATION_KINDS,
    E_ACCOUNT,
    E_ACTOR,
    E_BLOCK,
    E_DESTINATION,
    E_DESTINATION_KIND,
    E_DEVICE,
    E_FAMILY,
    E_KIND,
    E_NETWORK,
    KINDS,
    MONEY,
    SIGNING,
    fingerprint,
)
from rules.expression import NUMBERS, SURPRISE, TEXTS, Expression
from rules.features.frame import N_GROUP, N_NOW_US, Frame
from rules.guards import OPERATORS, Row, passes
from rules.networks import is_system
from rules.signal import Decision, Reason, Signal

_WORDS: Final = {"account": E_ACCOUNT, "actor": E_ACTOR, "destination": E_DESTINATION, "device": E_DEVICE}


class Detector:
    """A compiled detector. ``errors`` counts evaluations without an answer since start."""

    def __init__(self, declaration: Declaration, expression: Expression) -> None:
        self.declaration = declaration
        self.expression = expression
        self.errors = 0
        name = declaration.guard.feature
        self.row = Row(
            feature=NUMBERS[name.removesuffix(SURPRISE)],
            surprising=name not in NUMBERS,
            op=OPERATORS.index(declaration.guard.op),
            number=declaration.guard.number,
            kinds=tuple(self.covers(kind) for kind in KINDS),
        )
        self._shown = tuple(
            dict.fromkeys(NUMBERS[name.removesuffix(SURPRISE)] for name in expression.names if name not in TEXTS)
        )

    @property
    def id(self) -> str:
        """The detector's unique id."""
        return self.declaration.id

    @property
    def runs(self) -> bool:
        """Whether it is evaluated at all."""
        return self.declaration.runs

    def covers(self, kind: str) -> bool:
        """Whether a kind of activity is in its filter; ``withdrawal.*`` covers every withdrawal."""
        head = kind.partition(".")[0] + ".*"
        return kind in self.declaration.kinds or head in self.declaration.kinds

    def guard_holds(self, values: Sequence[float] | F8, surprise: Sequence[float] | F8) -> bool:
        """Whether the guard lets the expression run."""
        read = surprise if self.row.surprising else values
        return passes(float(read[self.row.feature]), self.row.op, self.row.number)

    def status_for(self, frame: Frame) -> Status:
        """The status in force for an event: a canary is live for its share of entities and a shadow elsewhere."""
        declared = self.declaration
        if declared.status is not Status.CANARY:
            return declared.status
        whose = int(frame.event[E_ACCOUNT] or frame.event[E_ACTOR])
        return Status.LIVE if whose and bucket(self.id, whose) < (declared.canary or 0) else Status.SHADOW

    def exemption(self, frame: Frame, salt: str) -> Exemption | None:
        """The first exception that covers an event and has not expired at its own, monotone time."""
        for one in self.declaration.exceptions:
            if fingerprint(one.name, salt) == _told(frame, one) and one.counts_at(frame.now[N_NOW_US]):
                return one
        return None

    def evaluate(self, frame: Frame, shares: Mapping[int, float], salt: str) -> Signal | None:
        """The signal for a measured activity whose guard holds, or ``None``.

        ``shares`` are parts of the score by feature index; ``salt`` keys the fingerprints of the frame's row.
        """
        event = frame.event
        texts = {
            "kind": KINDS[int(event[E_KIND])],
            "destination_kind": DESTINATION_KINDS[int(event[E_DESTINATION_KIND])],
        }
        try:
            if not self.expression.holds(frame.values, frame.surprise, texts):
                return None
        except EvaluationError:
            self.errors += 1
            return self._signal(frame, shares, salt, broken=True)
        return self._signal(frame, shares, salt, broken=False)

    def _signal(self, frame: Frame, shares: Mapping[int, float], salt: str, *, broken: bool) -> Signal:
        declared = self.declaration
        shadow = self.status_for(frame) is not Status.LIVE
        exemption = self.exemption(frame, salt)
        return Signal(
            detector=self.id,
            version=declared.version,
            severity=declared.severity,
            decision=Decision.ALLOW if shadow or exemption else self._decision(frame, broken=broken),
            title=f"{declared.title} (rule broken, failing closed)" if broken else declared.title,
            runbook=declared.runbook,
            playbook=declared.playbook,
            tags=declared.tags,
            reasons=self._reasons(frame, shares),
            shadow=shadow,
            error=broken,
            status=declared.standing,
            silenced=f"exception: {exemption}" if exemption else None,
        )

    def _decision(self, frame: Frame, *, broken: bool) -> Decision:
        if not broken:
            return Decision(self.declaration.decision)
        return Decision.HOLD if int(frame.event[E_FAMILY]) in {MONEY, SIGNING} else Decision.ALERT

    def _reasons(self, frame: Frame, shares: Mapping[int, float]) -> tuple[Reason, ...]:
        from rules.explain import reason_of  # noqa: PLC0415  loads the compiler, which reading files does not need

        return tuple(
            reason_of(frame, index, shares.get(index, 0.0), self.id)
            for index in self._shown
            if not isnan(frame.values[index])
        )


def _told(frame: Frame, one: Exemption) -> float:
    """The fingerprint that an event tells of an exception's sort of entity."""
    if one.sort == "peer_group":
        return float(frame.now[N_GROUP])
    if one.sort == "network":
        return float(frame.event[E_NETWORK if is_system(one.name) else E_BLOCK])
    return float(frame.event[_WORDS[one.sort]])


@lru_cache(maxsize=65_536)
def bucket(detector: str, fingerprint: int) -> int:
    """Where an entity stands among the hundred parts that a canary's share is cut from, 0 to 99.

    >>> bucket("drain-fan-in", 1234567), bucket("drain-fan-in", 1234568)
    (53, 41)
    """
    told = hashlib.blake2b(f"{detector}\0{fingerprint}".encode(), digest_size=8, person=b"portcullis-cnry")
    return int.from_bytes(told.digest(), "big") % 100
