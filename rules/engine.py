"""Score one observation, decide, and learn or not: the whole behavioural engine behind one class.

Rules enforced here:
- Causal: an assessment depends only on what was processed before. ``assess`` changes nothing.
- What alerted, and whatever touches an entity under incident, is remembered but not learned. History mode scores and
  learns and never alerts.
- The decision is the stronger of the score's level and the live detectors' outcomes; a suppressed finding is told but
  decides nothing.
- State follows from the learning sequence alone: rules and incidents change operations, and operations are recorded.
- A back-test's rows go through the same compiled functions as a live observation, so both give the same bits.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from rules import kernel
from rules.arrays import F8, I8
from rules.baseline.layout import GROUP, Kind
from rules.baseline.tables import ACCOUNTS, FULL, claim
from rules.binding import SCRATCH_WORDS, cut_frame, cut_told
from rules.errors import CapacityError, LearningRecordError
from rules.event import E_COUNTS, E_FAMILY, E_FROZEN, E_HISTORY, EVENT_WIDTH, fingerprint, rows_of, write_row
from rules.features.frame import R_LEVEL, Frame
from rules.health import Health, health_of
from rules.learning import (
    Entities,
    LearningRecord,
    Lifted,
    ListsInForce,
    Membership,
    RecordKind,
    RuleSet,
    StateChange,
    Suppression,
    Verdict,
)
from rules.learning import Operation as Operation  # noqa: PLC0414 -- part of this module's interface
from rules.loader import DetectorSet
from rules.observation import Observation, decode
from rules.outcome import O_DECISION, O_OPERATION, OUT_WIDTH, VERDICT_WIDTH, Fired
from rules.settings import EngineSettings as EngineSettings  # noqa: PLC0414 -- part of this module's interface
from rules.signal import Assessment, Decision, Signal, stronger
from rules.state import State
from rules.telling import NOTHING, Found, told, told_all
from rules.verdicts import COUNTED_AT, no_verdicts, verdict_row

ENGINE_VERSION: Final = "3.5"
"""Changes whenever the same sequence would give other bytes or scores."""

_FOLD_AFTER: Final = 4000
_NO_VERDICTS: Final[F8] = np.zeros((0, VERDICT_WIDTH), np.float64)
_PLAYBOOKS: Final = ("drain", "signing_tampering", "account_takeover", "insider_policy_change")
_DECISIONS: Final = (Decision.ALLOW, Decision.ALERT, Decision.HOLD)
_OPERATIONS: Final = {Operation.LEARN: 0, Operation.SKIP: 1, Operation.LATE_LEARN: 2}
_LEARNT: Final = (Operation.LEARN, Operation.SKIP)


Processed = tuple[Assessment, Operation] | CapacityError
"""What became of one observation of many."""


class Engine:
    """The engine. Not safe for use by several threads: one total order is the point.

    ``sequence`` is the number of the last row applied; a caller that numbers rows itself sets it after ``process``.
    ``frame`` shows the last event as it was measured, until the next one. ``settings_digest`` is that of the settings in
    force, worked out once.
    """

    def __init__(self, settings: EngineSettings, detectors: DetectorSet) -> None:
        self._state = State(settings)
        self._scratch = np.zeros(SCRATCH_WORDS, np.float64)
        self.frame: Frame = cut_frame(self._scratch)
        self._fired = cut_told(self._scratch).fired
        self._row = np.zeros((1, EVENT_WIDTH), np.float64)
        self._out = np.zeros((1, OUT_WIDTH), np.float64)
        self._work = kernel.Work(self._row, self._out, _NO_VERDICTS, np.zeros(kernel.PLACE_WIDTH, np.int64))
        self._since_fold = 0
        self.sequence = 0
        self.use(detectors)

    @property
    def settings(self) -> EngineSettings:
        """The settings in force."""
        return self._state.settings

    @property
    def detectors(self) -> DetectorSet:
        """The detectors in force."""
        return self._detectors

    def use(self, detectors: DetectorSet) -> None:
        """Put a set of detectors in force, from the next observation on."""
        self._detectors = detectors
        self._hold()

    def _hold(self) -> None:
        """Bind the kernel to the present state and detectors."""
        state = self._state
        self.settings_digest = state.settings.digest()
        guards = kernel.packed(self._detectors.guards())
        self._held = kernel.Held(state.arena, state.integers, state.common, self._scratch, guards)

    def process(
        self, observation: Observation, *, frozen: bool = False, history: bool = False
    ) -> tuple[Assessment, Operation]:
        """Score an observation causally, then learn it or not, and say which.

        ``frozen``: the caller knows an entity under incident. ``history``: never alert, and learn what would have.
        Raises :class:`CapacityError`, and nothing happened, when there is no room for one more account.
        """
        self._place(observation, history=history)
        status = self._step(kernel.MEASURE if frozen else kernel.COMMIT)
        found = self._looked() if status == kernel.LOOK else NOTHING
        assessment = told(self._out[0], found)
        operation = Operation.LEARN
        if frozen or self._remembered_only() or found.decision is not Decision.ALLOW:
            operation = Operation.SKIP
        if frozen or status == kernel.LOOK:
            self._finish(operation)
        self.sequence += 1
        return assessment, operation

    def process_all(self, observations: Sequence[Observation], history: Sequence[bool]) -> list[Processed]:
        """As ``process`` one by one, in order, with the same bits; what has no room is an error in its place."""
        if not observations:
            return []
        events = self._with_frozen(rows_of(observations, self.settings.salt))
        events[:, E_HISTORY] = history
        out, full = np.empty((len(events), OUT_WIDTH), np.float64), set[int]()
        work = kernel.Work(events, out, _NO_VERDICTS, np.zeros(kernel.PLACE_WIDTH, np.int64))
        looked: dict[int, Found] = {}
        while (status := kernel.run(self._held, work)) != kernel.DONE:
            row = int(work.place[kernel.P_ROW])
            if status == kernel.NO_ROOM:
                full.add(row)
                work.place[kernel.P_ROW] = row + 1
            else:
                looked[row] = self._looked()
                self._go_on(work, looked[row].decision)
        self._count_notes(len(events))
        self.sequence += len(events) - len(full)
        made: list[Processed] = [
            (assessment, _LEARNT[int(skip)])
            for assessment, skip in zip(told_all(out, looked), out[:, O_OPERATION].tolist(), strict=True)
        ]
        for at in full:
            made[at] = self._no_room()
        return made

    def assess(self, observation: Observation, *, tell: bool = False) -> Assessment:
        """What ``process`` would say, without changing anything; ``tell``: with its reasons however low the score."""
        self._place(observation, history=False)
        looked_at = self._step(kernel.MEASURE) == kernel.LOOK
        return told(self._out[0], self._looked() if looked_at else NOTHING, tell=tell)

    def _place(self, observation: Observation, *, history: bool) -> None:
        row = self._row[0]
        write_row(row, observation, self.settings.salt)
        row[E_HISTORY] = float(history)
        row[E_FROZEN] = float(self._state.frozen.holds(row))

    def _step(self, mode: int) -> int:
        place = self._work.place
        place[:] = 0
        place[kernel.P_MODE] = mode
        return self._run(self._work)

    def _finish(self, operation: Operation) -> None:
        place = self._work.place
        place[:] = 0
        place[kernel.P_FORCED], place[kernel.P_OPERATION] = 1, _OPERATIONS[operation]
        self._run(self._work)

    def _go_on(self, work: kernel.Work, decision: Decision) -> None:
        """Have the row that was looked at committed as it was decided."""
        row = int(work.place[kernel.P_ROW])
        alone = self._remembered_only() or decision is not Decision.ALLOW
        operation = _OPERATIONS[Operation.SKIP if alone else Operation.LEARN]
        work.out[row, O_DECISION], work.out[row, O_OPERATION] = decision.strength, operation
        work.place[kernel.P_FORCED], work.place[kernel.P_OPERATION] = 1, operation

    def _run(self, work: kernel.Work) -> int:
        status = kernel.run(self._held, work)
        if status == kernel.NO_ROOM:
            raise self._no_room()
        self._count_notes(1)
        return status

    def _no_room(self) -> CapacityError:
        return CapacityError(f"already {self.settings.max_accounts} accounts: raise max_accounts or remove accounts")

    def _count_notes(self, rows: int) -> None:
        self._since_fold += rows
        if self._since_fold >= _FOLD_AFTER:
            self._state.fold()
            self._since_fold = 0

    def _remembered_only(self) -> bool:
        event = self.frame.event
        return bool(event[E_FROZEN] != 0.0 or event[E_COUNTS] == 0.0)

    def _looked(self) -> Found:
        """What is found in the event as it was just measured."""
        signals = self._signals()
        decision, silenced = self._decided(signals)
        return Found(signals, decision, silenced, self._playbook(decision, signals))

    def _signals(self) -> tuple[Signal, ...]:
        frame, salt = self.frame, self.settings.salt
        shares = dict(enumerate(frame.parts.tolist()))
        running, found = self._detectors.running, []
        for position in self._fired[1 : 1 + int(self._fired[0])].tolist():
            signal = running[int(position)].evaluate(frame, shares, salt)
            if signal is not None:
                found.append(self._state.suppressions.apply(signal, frame))
        return tuple(found)

    def _decided(self, signals: tuple[Signal, ...]) -> tuple[Decision, str | None]:
        decision = _DECISIONS[int(self.frame.result[R_LEVEL])]
        silenced = None
        if decision is not Decision.ALLOW:
            silenced = self._state.suppressions.of_score(self.frame)
            decision = decision if silenced is None else Decision.ALLOW
        for signal in signals:
            decision = stronger(decision, signal.decision)
        return decision, silenced

    def _playbook(self, decision: Decision, signals: tuple[Signal, ...]) -> str | None:
        if decision is Decision.ALLOW:
            return None
        counting = [signal for signal in signals if signal.decision is not Decision.ALLOW]
        if counting:
            return max(counting, key=lambda signal: (signal.decision.strength, signal.severity.rank)).playbook
        return _PLAYBOOKS[int(self.frame.event[E_FAMILY])]

    def process_rows(self, events: F8, out: F8, verdicts: F8) -> list[Fired]:
        """Process rows (``rules.event``) in order and write what is said of each (``rules.outcome``).

        ``verdicts`` are rows too, in order of V_KNOWN_US; each is learned before the first event that is not earlier.
        Gives the detectors that fired. What would alert is decided as in ``process``.
        """
        fired: list[Fired] = []
        place = np.zeros(kernel.PLACE_WIDTH, np.int64)
        work = kernel.Work(self._with_frozen(events), out, verdicts, place)
        positions = {detector.id: at for at, detector in enumerate(self._detectors.running)}
        while self._run(work) == kernel.LOOK:
            row = int(place[kernel.P_ROW])
            found = self._looked()
            self._go_on(work, found.decision)
            fired += [Fired(row, positions[one.detector], one.decision.strength) for one in found.signals]
        self.sequence += len(events)
        return fired

    def _with_frozen(self, events: F8) -> F8:
        words = self._state.frozen.words()
        if not words and events.flags.writeable:
            return events
        events = events.copy()
        for word, keys in words.items():
            events[np.isin(events[:, word], keys), E_FROZEN] = 1.0
        return events

    def apply(self, record: LearningRecord) -> None:
        """Apply a row of the learning sequence.

        Raises :class:`LearningRecordError` naming the row, or :class:`CapacityError`, when it cannot; then nothing changed.
        """
        if record.seq <= self.sequence:
            raise LearningRecordError(f"row {record.seq} comes after row {self.sequence}: rows must ascend")
        try:
            self._apply(record, RecordKind(record.kind))
        except (ValueError, msgspec.DecodeError) as error:
            raise LearningRecordError(f"row {record.seq} ({record.kind}): {error}") from error
        self.sequence = record.seq

    def _apply(self, record: LearningRecord, kind: RecordKind) -> None:
        payload = record.payload
        if kind is RecordKind.ACTIVITY:
            self._apply_observation(decode(payload), Operation(record.operation or ""))
        elif kind is RecordKind.CLEARANCE:
            self._apply_observation(decode(payload), Operation.LATE_LEARN)
        elif kind is RecordKind.INCIDENT_OPENED:
            self._freeze(msgspec.json.decode(payload, type=Entities), 1)
        elif kind is RecordKind.INCIDENT_CLOSED:
            self._freeze(msgspec.json.decode(payload, type=Entities), -1)
        elif kind is RecordKind.VERDICT:
            self._judge(msgspec.json.decode(payload, type=Verdict))
        elif kind is RecordKind.SETTINGS:
            self._state.use(msgspec.json.decode(payload, type=EngineSettings))
            self._hold()
        elif kind is RecordKind.PEER_GROUP:
            self._join(msgspec.json.decode(payload, type=Membership))
        elif kind is RecordKind.SUPPRESSION:
            self._suppress(msgspec.json.decode(payload, type=Suppression).id, payload)
        elif kind is RecordKind.SUPPRESSION_LIFTED:
            self._suppress(msgspec.json.decode(payload, type=Lifted).id, b"")
        else:  # told for people and for who looks things up; the baselines do not depend on it
            msgspec.json.decode(payload, type=ListsInForce if kind is RecordKind.LISTS else RuleSet)

    def _apply_observation(self, observation: Observation, operation: Operation) -> None:
        self._place(observation, history=False)
        self._finish(operation)

    def _freeze(self, entities: Entities, by: int) -> None:
        for reference in entities.entities:
            self._state.frozen.change(reference, by, self.settings.salt)
            self._state.dirty_names.add((Kind.FROZEN, reference))

    def _suppress(self, identity: str, stored: bytes) -> None:
        self._state.suppressions.put(identity, stored, self.settings.salt)
        self._state.dirty_names.add((Kind.SUPPRESSION, identity))

    def _join(self, membership: Membership) -> None:
        slot = claim(self._state.places, ACCOUNTS, fingerprint(membership.account, self.settings.salt), 0.0)
        if slot == FULL:
            raise CapacityError("no account has room for its peer group: raise max_accounts")
        group = membership.peer_group
        self._state.record(ACCOUNTS, slot)[GROUP] = fingerprint(group, self.settings.salt) if group else 0.0

    def _judge(self, verdict: Verdict) -> None:
        row = verdict_row(verdict, self.settings.salt)
        for detector in verdict.detectors:
            self._state.verdicts.setdefault(detector, no_verdicts())[COUNTED_AT[verdict.verdict]] += 1.0
            self._state.dirty_names.add((Kind.VERDICT, detector))
        if row is not None:
            kernel.judge(self._held, row)

    def pools(self) -> I8:
        """How many records of each kind are held, and their size: rows of ``rules.baseline.tables`` (``M_*``)."""
        return self._state.places.meta[:-1].copy()

    def health(self) -> Health:
        """Drift of the calibrations and what became of the budgets."""
        return health_of(self._state.shared, self.sequence)

    def take_records(self, most: int) -> list[StateChange]:
        """Entities' records changed since they were last taken, at most so many: only with ``take_changes`` it is whole."""
        self._since_fold = 0
        return self._state.take_records(most)

    def take_changes(self) -> list[StateChange]:
        """Everything changed since it was last taken, in an order that depends on it alone."""
        self._since_fold = 0
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
        self._hold()
        self.sequence = 0
