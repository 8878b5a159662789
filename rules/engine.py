"""Score one observation, decide, and learn or not: the whole behavioural engine behind one class.

Rules enforced here:
- Causal: an assessment depends only on what was processed before. ``assess`` changes nothing.
- What alerted, and whatever touches an entity under incident, is remembered but not learned. History mode scores and
  learns and never alerts.
- The decision is the stronger of the p-value's level and the live detectors' outcomes. The p-value decides nothing
  before enough scores calibrate it, never holds by itself an entity without history or a destination that the platform
  vouches for, and needs a least raw surprise, so that the quietest stream's least quiet event is no alarm.
- State follows from the learning sequence alone: rules and incidents change operations, and operations are recorded.
"""

from collections.abc import Iterator
from math import log10
from typing import Final

import msgspec

from rules import kernel
from rules.baseline.layout import Kind
from rules.baseline.state import State
from rules.detector import reason_for
from rules.errors import LearningRecordError
from rules.features.catalogue import Family, contributions, family_of, raw_score
from rules.features.frame import Frame
from rules.learning import (
    Entities,
    LearningRecord,
    Membership,
    RecordKind,
    RuleSet,
    StateChange,
    Verdict,
)
from rules.learning import Operation as Operation  # noqa: PLC0414 -- part of this module's interface
from rules.loader import DetectorSet
from rules.observation import Observation, decode
from rules.settings import EngineSettings as EngineSettings  # noqa: PLC0414 -- part of this module's interface
from rules.signal import Assessment, Decision, History, Signal, stronger

ENGINE_VERSION: Final = "1.1"
"""Changes whenever the same sequence would give other bytes or scores."""

_MAX_REASONS: Final = 8
_LEAST_SHARE: Final = 0.02
_PLAYBOOKS: Final = {
    Family.MONEY: "drain",
    Family.SIGNING: "signing_tampering",
    Family.ACCESS: "account_takeover",
    Family.GOVERNANCE: "insider_policy_change",
}
_VERDICT_WORDS: Final = {"true_positive": 5, "false_positive": 6}


class Engine:
    """The engine. Not safe for use by several threads: one total order is the point.

    ``sequence`` is the number of the last row applied; a caller that numbers rows itself sets it after ``process``.
    """

    def __init__(self, settings: EngineSettings, detectors: DetectorSet) -> None:
        self._state = State(settings)
        self._detectors = detectors
        self.sequence = 0

    @property
    def settings(self) -> EngineSettings:
        """The settings in force."""
        return self._state.settings

    @property
    def detectors(self) -> DetectorSet:
        """The detectors in force."""
        return self._detectors

    def process(
        self, observation: Observation, *, frozen: bool = False, history: bool = False
    ) -> tuple[Assessment, Operation]:
        """Score an observation causally, then learn it or not, and say which.

        ``frozen``: the caller knows an entity under incident. ``history``: never alert, and learn what would have.
        """
        frame, parts, raw = self._measure(observation)
        assessment = self._assess(frame, parts, raw)
        if history:
            assessment = msgspec.structs.replace(assessment, decision=Decision.ALLOW, signals=(), playbook=None)
        operation = Operation.LEARN
        if (
            frozen
            or assessment.decision is not Decision.ALLOW
            or not observation.counts
            or self._is_frozen(observation)
        ):
            operation = Operation.SKIP
        kernel.commit(self._state, frame, operation, raw)
        self.sequence += 1
        return assessment, operation

    def assess(self, observation: Observation) -> Assessment:
        """What ``process`` would say, without changing anything."""
        return self._assess(*self._measure(observation))

    def _measure(self, observation: Observation) -> tuple[Frame, list[tuple[float, int]], float]:
        frame = kernel.measure(self._state, observation)
        parts = contributions(frame)
        return frame, parts, raw_score(parts)

    def _assess(self, frame: Frame, parts: list[tuple[float, int]], raw: float) -> Assessment:
        p_value, tail, calibrated = kernel.raw_p_value(self._state, frame, raw)
        history = History.ENOUGH if kernel.has_history(self._state, frame) else History.NOT_ENOUGH
        shares = {index: part / raw for part, index in parts} if raw > 0.0 else {}
        signals = self._signals(frame, shares)
        decision = self._level(frame, raw, p_value, history) if calibrated else Decision.ALLOW
        for signal in signals:
            decision = stronger(decision, signal.decision)
        parts.sort(reverse=True)
        least = _LEAST_SHARE if decision is Decision.ALLOW else 0.0
        reasons = tuple(
            reason_for(frame, index, share, None)
            for share, index in [(shares[index], index) for _, index in parts[:_MAX_REASONS]]
            if share >= least
        )
        return Assessment(
            score=0.0 if p_value >= 1.0 else -log10(p_value),
            p_value=p_value,
            decision=decision,
            history=history,
            reasons=reasons,
            signals=signals,
            playbook=_playbook(frame, decision, signals),
            tail=tail,
            calibrated=calibrated,
        )

    def _level(self, frame: Frame, raw: float, p_value: float, history: History) -> Decision:
        settings = self.settings
        if p_value > settings.alert_p or raw < settings.alert_floor:
            return Decision.ALLOW
        if p_value > settings.hold_p or raw < settings.hold_floor or history is History.NOT_ENOUGH or frame.trusted:
            return Decision.ALERT
        return Decision.HOLD

    def _signals(self, frame: Frame, shares: dict[int, float]) -> tuple[Signal, ...]:
        values, surprise = frame.values, frame.surprise
        found = []
        for (index, surprising, compare, number), detector in self._detectors.for_kind(frame.observation.kind):
            if compare(surprise[index] if surprising else values[index], number):
                signal = detector.evaluate(frame, shares)
                if signal is not None:
                    found.append(signal)
        return tuple(found)

    def _is_frozen(self, observation: Observation) -> bool:
        frozen = self._state.frozen
        return bool(frozen) and any(frozen.get(reference, 0) > 0 for reference in entities_of(observation))

    def apply(self, record: LearningRecord) -> None:
        """Apply a row of the learning sequence. Raises :class:`LearningRecordError` naming the row when it cannot."""
        if record.seq <= self.sequence:
            raise LearningRecordError(f"row {record.seq} comes after row {self.sequence}: rows must ascend")
        try:
            self._apply(record, RecordKind(record.kind))
        except (ValueError, msgspec.DecodeError) as error:
            raise LearningRecordError(f"row {record.seq} ({record.kind}): {error}") from error
        self.sequence = record.seq

    def _apply(self, record: LearningRecord, kind: RecordKind) -> None:
        if kind is RecordKind.ACTIVITY:
            self._apply_observation(decode(record.payload), Operation(record.operation or ""))
        elif kind is RecordKind.CLEARANCE:
            self._apply_observation(decode(record.payload), Operation.LATE_LEARN)
        elif kind is RecordKind.INCIDENT_OPENED:
            self._freeze(msgspec.json.decode(record.payload, type=Entities), 1)
        elif kind is RecordKind.INCIDENT_CLOSED:
            self._freeze(msgspec.json.decode(record.payload, type=Entities), -1)
        elif kind is RecordKind.VERDICT:
            self._count_verdict(msgspec.json.decode(record.payload, type=Verdict))
        elif kind is RecordKind.SETTINGS:
            self._state.settings = msgspec.json.decode(record.payload, type=EngineSettings)
        elif kind is RecordKind.PEER_GROUP:
            self._join(msgspec.json.decode(record.payload, type=Membership))
        else:
            msgspec.json.decode(record.payload, type=RuleSet)

    def _apply_observation(self, observation: Observation, operation: Operation) -> None:
        frame, _, raw = self._measure(observation)
        kernel.commit(self._state, frame, operation, raw)

    def _freeze(self, entities: Entities, by: int) -> None:
        for reference in entities.entities:
            self._state.frozen[reference] = max(0, self._state.frozen.get(reference, 0) + by)
            self._state.dirty_names.add((Kind.FROZEN, reference))

    def _join(self, membership: Membership) -> None:
        self._state.memberships[membership.account] = membership.peer_group or ""
        self._state.dirty_names.add((Kind.MEMBERSHIP, membership.account))

    def _count_verdict(self, verdict: Verdict) -> None:
        word = _VERDICT_WORDS.get(verdict.verdict)
        if word is None:
            raise LearningRecordError(f"verdict {verdict.verdict!r} is not one of {', '.join(sorted(_VERDICT_WORDS))}")
        for detector in verdict.detectors:
            slot = self._state.verdicts.claim(detector)
            self._state.verdicts.view(slot)[word] += 1.0
            self._state.dirty.add((Kind.VERDICT, slot))

    def take_changes(self) -> list[StateChange]:
        """Records changed since the last call, in order of kind and entity, to store in the same transaction."""
        return self._state.take()

    def load(self, entity: str, kind: int, state: bytes) -> None:
        """Put one stored record in place. Raises :class:`rules.errors.StateFormatError`."""
        self._state.load(entity, kind, state)

    def snapshot(self) -> Iterator[StateChange]:
        """Every record, in order of kind and entity."""
        return self._state.snapshot()

    def unload_all(self) -> None:
        """Forget everything, as if nothing was ever applied; settings stay."""
        self._state = State(self.settings)
        self.sequence = 0


def entities_of(observation: Observation) -> tuple[str, ...]:
    """The references under which an observation's entities are frozen: ``account:ID``, ``actor:ID`` and so on."""
    named = (
        ("account", observation.account),
        ("actor", observation.actor),
        ("destination", observation.destination),
        ("device", observation.device),
        ("session", observation.session),
    )
    return tuple(f"{sort}:{name}" for sort, name in named if name)


def _playbook(frame: Frame, decision: Decision, signals: tuple[Signal, ...]) -> str | None:
    if decision is Decision.ALLOW:
        return None
    counting = [signal for signal in signals if signal.decision is not Decision.ALLOW]
    if counting:
        return max(counting, key=lambda signal: (signal.decision.strength, signal.severity.rank)).playbook
    return _PLAYBOOKS.get(family_of(frame.observation.kind))
