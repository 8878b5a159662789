"""One batch in order: deduplicate, attribute, count each transaction once, score, and say what must be written.

Rules: pure but for the engine it was given. An item's own fault (conflict, history of a live account) is its own answer
and spoils nothing else. An event of an unlisted account is stored and neither learned nor acted on (design D9); asked
before signing, an unlisted account is held, because nobody can vouch for it. A question whose bytes differ from what is
shown is rejected; one that scores as a hold is held. An account for which the engine has no room is our own fault: its items
are refused to be sent again, everybody else's are taken.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from rules.engine import ENGINE_VERSION, Engine
from rules.errors import CapacityError, ObservationError
from rules.observation import Observation, encode
from rules.signal import Assessment, Decision
from service.domain.activity import KINDS, Activity
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
    KnownAccount,
    Learned,
    Mode,
    Outcome,
    Status,
    StoredDecision,
    StoredEvent,
    TransactionKey,
    TransactionState,
)
from service.domain.listed import Listings
from service.domain.merkle import leaf_hash, root_of
from service.domain.observing import alert_of, detectors_of, entities_of, judged, observe, places_of, told_reasons
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


class _Due(Struct, frozen=True):
    """One item whose score is due."""

    at: int
    """Its place in the batch."""
    item: Item
    observation: Observation
    opening: TransactionKey | None = None
    """The transaction that it is the first of."""
    moving: tuple[TransactionKey, TransactionState] | None = None
    """The transaction that it moves, as it stood."""
    changed: tuple[str, ...] = ()
    """What it tells differently than the transaction did."""
    gives_up: bool = False
    """It takes the amount of its transaction out of the totals, and is not judged."""
    goes_live: AccountKey | None = None


class Batch:
    """Takes the items of one batch in order; afterwards `finish` completes the writes.

    Items are scored together: an item that speaks of the same event or transaction as one whose score is due waits for
    that first, so that each finds what those before it left, as if they came one by one.
    """

    def __init__(self, engine: Engine, facts: Facts, writes: Writes, listings: Listings | None = None) -> None:
        self._engine = engine
        self._facts = facts
        self._writes = writes
        self._listings = listings
        self._alerts: list[_Raised] = []
        self._allowed: list[bytes] = []
        self.no_room = 0
        """Items for which the engine has no room; the operator has to be told."""
        self._opened: dict[TransactionKey, int] = {}
        """Where in the writes the activity stands that opened a transaction within this batch."""
        self._answers: list[Outcome | PortcullisError | None] = []
        self._due: list[_Due] = []
        self._due_events: set[EventKey] = set()
        self._due_transactions: set[TransactionKey] = set()
        self._going_live: set[AccountKey] = set()
        """Accounts that this batch takes live, those whose score is due among them."""
        writes.engine_version, writes.settings_digest = ENGINE_VERSION, engine.settings_digest

    def take(self, items: Sequence[Item]) -> list[Outcome | PortcullisError]:
        """Work on the items: each one's outcome, or its own error."""
        for item in items:
            self._answers.append(None)
            self._answers[-1] = self._taken(item)
        self._score()
        return [answer for answer in self._answers if answer is not None]

    def _taken(self, item: Item) -> Outcome | PortcullisError | None:
        """Return the answer to an item; None while its score is due."""
        activity = item.received.activity
        key = (activity.connection, activity.event_id)
        transaction = None if activity.transaction is None else (activity.connection, activity.transaction)
        if key in self._due_events or transaction in self._due_transactions:
            self._score()
        known = self._facts.events.get(key)
        if known is not None:
            return self._known(item, known)
        answer = self._new(item, key, transaction)
        if isinstance(answer, Outcome):
            self._remember(key, item, answer)
        return answer

    def _remember(self, key: EventKey, item: Item, outcome: Outcome) -> None:
        self._facts.events[key] = StoredEvent(
            outcome.activity_id, item.received.body_digest, outcome.status, outcome.judged
        )

    def _known(self, item: Item, known: StoredEvent) -> Outcome | PortcullisError:
        activity = item.received.activity
        if known.body_digest != item.received.body_digest:
            self._conflict(item, known)
            told = activity.event_id.removeprefix(GATE_PREFIX)
            return ConflictError(f"event {told} was stored with another body; both are kept", field="id")
        decision = self._facts.decisions.get((activity.connection, item.question or ""))
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

    def _new(self, item: Item, event: EventKey, transaction: TransactionKey | None) -> Outcome | PortcullisError | None:
        activity = item.received.activity
        if activity.kind not in KINDS:
            return self._store(item, Status.NOTED)
        account = None
        if activity.account is not None:
            account = self._facts.accounts.get(activity.connection, {}).get(activity.account)
            if account is None:
                return self._store(item, Status.UNATTRIBUTED, gate=GateDecision.HOLD)
        live = self._is_live(activity, account)
        if item.mode is Mode.HISTORY and live:
            return ForbiddenError("history is taken only before the account is live; send it as live", field="mode")
        goes_live = None
        if item.mode is Mode.LIVE and account is not None and activity.account is not None and not live:
            goes_live = (activity.connection, activity.account)
        try:
            answer = self._counted(item, None if account is None else account.peer_group, transaction, goes_live)
        except ObservationError as error:
            return InputError(str(error))
        if goes_live is not None:
            self._going_live.add(goes_live)
        if isinstance(answer, _Due):
            self._due.append(answer)
            self._due_events.add(event)
            if transaction is not None:
                self._due_transactions.add(transaction)
            return None
        if goes_live is not None:
            self._writes.went_live.add(goes_live)
        return answer

    def _is_live(self, activity: Activity, account: KnownAccount | None) -> bool:
        """Say whether an account is live, or any of the connection's where none is told; what this batch does counts."""
        if account is not None:
            return account.live or (activity.connection, activity.account) in self._going_live
        return activity.connection in self._facts.live or any(
            connection == activity.connection for connection, _ in self._going_live
        )

    def _counted(
        self, item: Item, peer_group: str | None, key: TransactionKey | None, goes_live: AccountKey | None
    ) -> Outcome | _Due:
        received, activity = item.received, item.received.activity
        at = len(self._answers) - 1
        listed = self._listed(activity)
        if key is None:
            return _Due(at, item, observe(received, peer_group, counts=True, listed=listed), goes_live=goes_live)
        state = self._facts.transactions.get(key)
        if state is None:
            if state_of(activity) in GIVEN_UP:
                opens = self._open(key, item, _ALLOW)
                return self._answer(item, ActivityRow(received, Status.NOTED, opens=opens), GateDecision.HOLD)
            observation = observe(received, peer_group, counts=True, listed=listed)
            return _Due(at, item, observation, opening=key, goes_live=goes_live)
        changed, moving = differences(state, item), (key, state)
        if changed or says_more(state, item):
            observation = observe(received, peer_group, counts=False, listed=listed)
            return _Due(at, item, observation, moving=moving, changed=changed, goes_live=goes_live)
        if gives_up(state, activity):
            # Out of the totals goes what was counted, whatever amount the failure tells.
            quiet = replace(received, activity=replace(activity, amount_usd=state.amount_usd))
            observation = observe(quiet, peer_group, counts=False)
            return _Due(at, item, observation, moving=moving, gives_up=True, goes_live=goes_live)
        if listed and state.decision == _ALLOW:  # it was let go before a list named where it goes
            observation = observe(received, peer_group, counts=False, listed=listed)
            return _Due(at, item, observation, moving=moving, goes_live=goes_live)
        outcome = self._store(item, Status.REPEATED, gate=_gate_decision(state.decision))
        self._move(key, moved(state, item, None))
        return outcome

    def _listed(self, activity: Activity) -> int | None:
        """Return what lists say of where an activity goes, and of whom its bytes pay, call or give rights: the gravest."""
        if self._listings is None:
            return None
        level = self._listings.level(activity.destination)
        found = None if activity.signing is None else self._listings.worst(activity.signing.parties)
        return level if found is None else max(level or 0, found[1].level)

    def _open(self, key: TransactionKey, item: Item, decision: str) -> TransactionState:
        state = self._facts.transactions[key] = opened(item, decision)
        self._opened[key] = len(self._writes.activities)
        return state

    def _move(self, key: TransactionKey, state: TransactionState) -> None:
        self._facts.transactions[key] = self._writes.moved[key] = state
        opener = self._opened.pop(key, None)
        if opener is not None:
            self._writes.activities[opener] = replace(self._writes.activities[opener], opens=None)

    def _score(self) -> None:
        """Score what is due, in order."""
        due, self._due = self._due, []
        self._due_events.clear()
        self._due_transactions.clear()
        seq = self._engine.sequence
        history = [one.item.mode is Mode.HISTORY for one in due]
        found = self._engine.process_all([one.observation for one in due], history)
        for one, processed in zip(due, found, strict=True):
            if isinstance(processed, CapacityError):
                self.no_room += 1
                self._answers[one.at] = UnavailableError(
                    f"this event was not stored: {processed}", retry_after_s=_FULL_RETRY_S
                )
                continue
            seq += 1
            assessment, operation = processed
            outcome = self._scored(one, assessment, Learned(seq, operation, encode(one.observation)))
            self._answers[one.at] = outcome
            activity = one.item.received.activity
            self._remember((activity.connection, activity.event_id), one.item, outcome)

    def _scored(self, due: _Due, assessment: Assessment, learned: Learned) -> Outcome:
        item, moving = due.item, due.moving
        if due.gives_up:
            row = ActivityRow(item.received, Status.REPEATED, learned=learned)
            outcome = self._answer(item, row, GateDecision.HOLD)
        else:
            outcome = self._judged(due, assessment, learned)
        if moving is not None:
            self._move(moving[0], moved(moving[1], item, outcome.judged.decision if outcome.judged else None))
        if due.goes_live is not None:
            self._writes.went_live.add(due.goes_live)
        return outcome

    def _judged(self, due: _Due, assessment: Assessment, learned: Learned) -> Outcome:
        item, changed = due.item, due.changed
        decision = _ALLOW if assessment.decision is Decision.ALLOW else assessment.decision.value
        if changed and item.mode is Mode.LIVE:
            decision = max(decision, decision_for(changed), key=(_ALLOW, "alert", "hold").index)
        worst = None if self._listings is None else self._listings.worst(places_of(item.received.activity))
        place, listing = worst or (None, None)
        found = judged(assessment, decision, told_reasons(item, changed, listing))
        if decision == _ALLOW:
            self._allowed.append(_leaf(item, found))
        else:
            alert, title = alert_of(item.received, assessment, decision, place)
            self._alerts.append(_Raised(alert, title, found, item.trace_id))
        opens = None if due.opening is None else self._open(due.opening, item, decision)
        status = Status.HISTORY if item.mode is Mode.HISTORY else Status.SCORED
        row = ActivityRow(item.received, status, found, detectors_of(assessment), learned, opens)
        before = _ALLOW if due.moving is None else due.moving[1].decision
        return self._answer(item, row, _gate_decision("hold" if before == "hold" else decision))

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
        self._facts.decisions[item.received.activity.connection, item.question] = StoredDecision(decision_id, gate)
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
