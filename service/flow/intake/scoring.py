"""One batch in order: deduplicate, attribute, count each transaction once, score, and say what must be written.

Rules: pure but for the engine it was given. An item's own fault (conflict, history of a live account) is its own answer
and spoils nothing else. An event of an unlisted account is stored and neither learned nor acted on (design D9); asked
before signing, an unlisted account is held, because nobody can vouch for it. A question whose bytes differ from what is
shown is rejected; one that scores as a hold is held. An account for which the engine has no room is our own fault: its items
are refused to be sent again, everybody else's are taken.
"""

from dataclasses import dataclass
from typing import Final

from msgspec.structs import replace

from rules.engine import ENGINE_VERSION, Engine
from rules.errors import CapacityError, ObservationError
from rules.observation import encode
from rules.signal import Assessment, Decision
from service.domain.activity import KINDS
from service.domain.errors import ConflictError, ForbiddenError, InputError, PortcullisError, UnavailableError
from service.domain.events import AlertRaised
from service.domain.ids import AlertId, new_id
from service.domain.incident import Alert, IncidentKind, Severity
from service.domain.intake import (
    GATE_PREFIX,
    AccountKey,
    EventKey,
    GateDecision,
    Item,
    Judged,
    Learned,
    Mode,
    Outcome,
    Status,
    StoredDecision,
    StoredEvent,
    TransactionKey,
    TransactionState,
)
from service.domain.merkle import leaf_hash, root_of
from service.domain.observing import alert_of, detectors_of, entities_of, judged, observe, told_reasons
from service.domain.timeline import Entry
from service.domain.transactions import (
    GIVEN_UP,
    decision_for,
    differences,
    gives_up,
    moved,
    opened,
    says_more,
    state_of,
)
from service.ports.store.intake import ActivityRow, Facts, Writes

_ALLOW: Final = "allow"
_FULL_RETRY_S: Final = 60.0


@dataclass(frozen=True, slots=True)
class _Raised:
    """One anomalous item of this batch."""

    alert: Alert
    title: str
    found: Judged
    trace_id: str | None

    def entry(self) -> Entry:
        """Return what the audit log keeps of a new alert."""
        alert, found = self.alert, self.found
        return Entry(
            kind="alert.raised",
            at=alert.raised_at,
            subject=alert.id,
            sentence=f"{self.title} ({found.decision}, score {found.score:.1f})",
            facts={
                "activity": alert.activity_id,
                "decision": found.decision,
                "score": f"{found.score:.6g}",
                "p_value": f"{found.p_value:.6g}",
                "kind": alert.kind.value,
                "severity": alert.severity.word,
            },
            personal={"entities": " ".join(alert.entities)},
        )


class Batch:
    """Takes the items of one batch one by one; afterwards `finish` completes the writes."""

    def __init__(self, engine: Engine, facts: Facts, writes: Writes) -> None:
        self._engine = engine
        self._facts = facts
        self._writes = writes
        self._alerts: list[_Raised] = []
        self._allowed: list[bytes] = []
        self.no_room = 0
        """Items for which the engine has no room; the operator has to be told."""
        self._opened: dict[TransactionKey, int] = {}
        """Where in the writes the activity stands that opened a transaction within this batch."""
        writes.engine_version, writes.settings_digest = ENGINE_VERSION, engine.settings.digest()

    def take(self, item: Item) -> Outcome | PortcullisError:
        """Work on one item: its outcome, or its own error."""
        activity = item.received.activity
        key = EventKey(activity.connection, activity.event_id)
        known = self._facts.events.get(key)
        if known is not None:
            return self._known(item, known)
        outcome = self._new(item)
        if isinstance(outcome, Outcome):
            self._facts.events[key] = StoredEvent(
                outcome.activity_id, item.received.body_digest, outcome.status, outcome.judged
            )
        return outcome

    def _known(self, item: Item, known: StoredEvent) -> Outcome | PortcullisError:
        activity = item.received.activity
        if known.body_digest != item.received.body_digest:
            self._conflict(item, known)
            told = activity.event_id.removeprefix(GATE_PREFIX)
            return ConflictError(f"event {told} was stored with another body; both are kept", field="id")
        decision = self._facts.decisions.get(EventKey(activity.connection, item.question or ""))
        return Outcome(
            known.activity_id,
            known.status,
            repeated=True,
            judged=known.judged,
            gate=None if decision is None else decision.decision,
            decision_id=None if decision is None else decision.id,
        )

    def _conflict(self, item: Item, known: StoredEvent) -> None:
        activity = item.received.activity
        self._writes.conflicts.append(item.received)
        alert = Alert(
            id=AlertId(new_id("alr")),
            connection=activity.connection,
            activity_id=known.activity_id,
            dedup_key=f"{activity.connection}|conflict|{activity.event_id}",
            kind=IncidentKind.ACCOUNT_TAKEOVER,
            severity=Severity.MEDIUM,
            decision="alert",
            score=0.0,
            p_value=1.0,
            entities=(*entities_of(activity), f"connection:{activity.connection}"),
            amount_usd=None,
            raised_at=item.received.received_at,
        )
        found = Judged("alert", 0.0, 1.0, "enough", "[]")
        self._alerts.append(_Raised(alert, "One event id came with two bodies", found, item.trace_id))

    def _new(self, item: Item) -> Outcome | PortcullisError:
        activity = item.received.activity
        if activity.kind not in KINDS:
            return self._store(item, Status.NOTED)
        account = None
        if activity.account is not None:
            account = self._facts.accounts.get(activity.connection, {}).get(activity.account)
            if account is None:
                return self._store(item, Status.UNATTRIBUTED, gate=GateDecision.HOLD)
        live = account.live if account is not None else activity.connection in self._facts.live
        if item.mode is Mode.HISTORY and live:
            return ForbiddenError("history is taken only before the account is live; send it as live", field="mode")
        try:
            outcome = self._counted(item, None if account is None else account.peer_group)
        except ObservationError as error:
            return InputError(str(error))
        except CapacityError as error:
            self.no_room += 1
            return UnavailableError(f"this event was not stored: {error}", retry_after_s=_FULL_RETRY_S)
        if item.mode is Mode.LIVE and account is not None and activity.account is not None and not account.live:
            self._writes.went_live.add(AccountKey(activity.connection, activity.account))
        return outcome

    def _counted(self, item: Item, peer_group: str | None) -> Outcome:
        activity = item.received.activity
        if activity.transaction is None:
            return self._scored(item, peer_group)
        key = TransactionKey(activity.connection, activity.transaction)
        state = self._facts.transactions.get(key)
        if state is None:
            if state_of(activity) in GIVEN_UP:
                opens = self._open(key, item, _ALLOW)
                return self._answer(item, ActivityRow(item.received, Status.NOTED, opens=opens), GateDecision.APPROVE)
            return self._scored(item, peer_group, opening=key)
        changed = differences(state, item)
        if changed or says_more(state, item):
            outcome = self._scored(item, peer_group, changed=changed, counts=False)
        elif gives_up(state, activity):
            outcome = self._given_up(item, peer_group, state)
        else:
            outcome = self._store(item, Status.REPEATED, gate=_gate_decision(state.decision))
        self._move(key, moved(state, item, outcome.judged.decision if outcome.judged else None))
        return outcome

    def _open(self, key: TransactionKey, item: Item, decision: str) -> TransactionState:
        state = self._facts.transactions[key] = opened(item, decision)
        self._opened[key] = len(self._writes.activities)
        return state

    def _move(self, key: TransactionKey, state: TransactionState) -> None:
        self._facts.transactions[key] = self._writes.moved[key] = state
        opener = self._opened.pop(key, None)
        if opener is not None:
            self._writes.activities[opener] = replace(self._writes.activities[opener], opens=None)

    def _scored(
        self,
        item: Item,
        peer_group: str | None,
        *,
        opening: TransactionKey | None = None,
        changed: tuple[str, ...] = (),
        counts: bool = True,
    ) -> Outcome:
        assessment, learned = self._process(item, peer_group, counts=counts)
        decision = _ALLOW if assessment.decision is Decision.ALLOW else assessment.decision.value
        if changed and item.mode is Mode.LIVE:
            decision = max(decision, decision_for(changed), key=(_ALLOW, "alert", "hold").index)
        found = judged(assessment, decision, told_reasons(item, changed))
        if decision == _ALLOW:
            self._allowed.append(_leaf(item, found))
        else:
            alert, title = alert_of(item.received, assessment, decision)
            self._alerts.append(_Raised(alert, title, found, item.trace_id))
        opens = None if opening is None else self._open(opening, item, decision)
        status = Status.HISTORY if item.mode is Mode.HISTORY else Status.SCORED
        row = ActivityRow(item.received, status, found, detectors_of(assessment), learned, opens)
        return self._answer(item, row, _gate_decision(decision))

    def _given_up(self, item: Item, peer_group: str | None, state: TransactionState) -> Outcome:
        """Take the amount that was counted out of the totals, whatever amount the failure tells."""
        counted = replace(item.received.activity, amount_usd=state.amount_usd)
        quiet = replace(item, received=replace(item.received, activity=counted))
        _, learned = self._process(quiet, peer_group, counts=False)
        return self._answer(item, ActivityRow(item.received, Status.REPEATED, learned=learned), GateDecision.HOLD)

    def _process(self, item: Item, peer_group: str | None, *, counts: bool) -> tuple[Assessment, Learned]:
        observation = observe(item.received, peer_group, counts=counts)
        assessment, operation = self._engine.process(observation, history=item.mode is Mode.HISTORY)
        return assessment, Learned(self._engine.sequence, operation, encode(observation))

    def _store(self, item: Item, status: Status, *, gate: GateDecision = GateDecision.APPROVE) -> Outcome:
        return self._answer(item, ActivityRow(item.received, status), gate)

    def _answer(self, item: Item, row: ActivityRow, gate: GateDecision) -> Outcome:
        if item.question is None:
            self._writes.activities.append(row)
            return Outcome(item.received.activity_id, row.status, judged=row.judged)
        signing = item.received.activity.signing
        if signing is not None and signing.display_mismatch:
            gate = GateDecision.REJECT
        elif item.doubt is not None:
            gate = GateDecision.HOLD
        decision_id = new_id("dec")
        self._writes.activities.append(replace(row, question=item.question, decision_id=decision_id, gate=gate))
        key = EventKey(item.received.activity.connection, item.question)
        self._facts.decisions[key] = StoredDecision(decision_id, gate)
        return Outcome(item.received.activity_id, row.status, judged=row.judged, gate=gate, decision_id=decision_id)

    @property
    def alert_keys(self) -> list[str]:
        """The deduplication keys of this batch's alerts."""
        return sorted({raised.alert.dedup_key for raised in self._alerts})

    def finish(self, standing: dict[str, str]) -> None:
        """Complete the writes; `standing` are the ids of alerts that still stand, by key."""
        for raised in self._alerts:
            alert = raised.alert
            known = standing.get(alert.dedup_key)
            if known is not None:
                self._writes.repeated_alerts[known] = self._writes.repeated_alerts.get(known, 0) + 1
                continue
            standing[alert.dedup_key] = alert.id
            self._writes.alerts.append((alert, raised.title))
            self._writes.entries.append((raised.entry(), (AlertRaised(alert.id),), raised.trace_id))
        if self._allowed:
            self._writes.audited.append(self._batch_entry())

    def _batch_entry(self) -> Entry:
        count, last = len(self._allowed), self._engine.sequence
        return Entry(
            kind="activity.batch",
            at=self._writes.now,
            subject=f"learning/{last}",
            sentence=f"{count} allowed activities up to sequence number {last}",
            facts={"root": root_of(self._allowed).hex(), "count": count, "sequence": last},
        )


def _gate_decision(decision: str) -> GateDecision:
    return GateDecision.HOLD if decision == "hold" else GateDecision.APPROVE


def _leaf(item: Item, found: Judged) -> bytes:
    """The audit tree's leaf of one allowed activity: id, digest of its raw body, decision."""
    received = item.received
    return leaf_hash(f"{received.activity_id}|{received.body_digest.hex()}|{found.decision}".encode())
