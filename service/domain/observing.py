"""From a service's activity to what features may read, and from an assessment to what is stored, alerted and answered.

Rules: ids of accounts, actors and devices are made unique by their connection; destinations are CAIP-10 or the platform's
own and stay as they are, so that two accounts paying one destination are seen together. Missing stays missing.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

import msgspec

from rules.observation import Observation
from rules.signal import Assessment, Decision, History, Reason, Signal
from service.domain.activity import Activity, Family, Received
from service.domain.ids import AlertId, new_id
from service.domain.incident import Alert, IncidentKind, Severity
from service.domain.intake import DOUBT, SIGNS, Item, Judged
from service.domain.listed import Listing

KIND_OF_FAMILY: Final = {
    Family.WITHDRAWAL: IncidentKind.DRAIN,
    Family.DEPOSIT: IncidentKind.DRAIN,
    Family.SIGNING: IncidentKind.SIGNING_TAMPERING,
    Family.ACCESS: IncidentKind.ACCOUNT_TAKEOVER,
    Family.GOVERNANCE: IncidentKind.INSIDER_POLICY_CHANGE,
}
_SEVERITY: Final = {
    "low": Severity.LOW,
    "medium": Severity.MEDIUM,
    "high": Severity.HIGH,
    "critical": Severity.CRITICAL,
}
_ENCODER: Final = msgspec.json.Encoder()
_NO_REASONS: Final = "[]"
_ENOUGH: Final = History.ENOUGH.value
_NOT_ENOUGH: Final = History.NOT_ENOUGH.value
CHANGED: Final = "transaction_changed"
LISTED: Final = "listed_as"
TOLD_BESIDE: Final = frozenset({CHANGED, DOUBT, SIGNS, LISTED})
"""The reasons that are not the engine's."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def observe(received: Received, peer_group: str | None, *, counts: bool, listed: int | None = None) -> Observation:
    """Return what features may read of an activity; `listed`: what lists say of its destination (`domain/listed.py`).

    Raises rules.errors.ObservationError when out of range.
    """
    activity, signing = received.activity, received.activity.signing
    here = f"{activity.connection}/"
    account, actor, transaction = activity.account, activity.actor, activity.transaction
    device, session = activity.device, activity.session
    return Observation(
        event_id=received.activity_id,
        kind=activity.kind,
        occurred_at_us=microseconds(activity.occurred_at),
        received_at_us=microseconds(received.received_at),
        account=here + account if account else None,
        actor=here + actor if actor else None,
        destination=activity.destination,
        destination_kind=activity.destination_kind,
        asset=activity.asset,
        transaction=here + transaction if transaction else None,
        country=activity.country,
        ip=activity.ip,
        asn=activity.asn,
        device=here + device if device else None,
        session=here + session if session else None,
        peer_group=peer_group,
        amount_usd=None if activity.amount_usd is None else float(activity.amount_usd),
        balance_usd=None if activity.balance_usd is None else float(activity.balance_usd),
        counts=counts,
        delegatecall=None if signing is None else signing.delegatecall,
        unlimited_approval=None if signing is None else signing.unlimited_approval,
        governance_call=None if signing is None else signing.governance_call,
        display_mismatch=None if signing is None else signing.display_mismatch,
        contract_age_s=None if signing is None else signing.contract_age_s,
        destination_listed=listed,
    )


def places_of(activity: Activity) -> tuple[str, ...]:
    """Return where an activity goes: its destination, and whom the bytes pay, call or give rights."""
    parties = () if activity.signing is None else activity.signing.parties
    return parties if activity.destination is None else (activity.destination, *parties)


def entities_of(activity: Activity, listed: str | None = None) -> tuple[str, ...]:
    """Return what incidents join on: `account:…`, `actor:…`, `destination:…`, `device:…`; `listed`: who else is paid."""
    here = activity.connection
    named = (
        ("account", _within(here, activity.account)),
        ("actor", _within(here, activity.actor)),
        ("destination", activity.destination),
        ("device", _within(here, activity.device)),
        ("destination", None if listed == activity.destination else listed),
    )
    return tuple(f"{sort}:{name}" for sort, name in named if name)


def told_reasons(item: Item, changed: tuple[str, ...], listing: Listing | None = None) -> tuple[Reason, ...]:
    """Return what people should read beside the score's own reasons.

    That is: which list names the destination, what a transaction tells differently than before, why a question is doubted,
    what the bytes would do.
    """
    signing = item.received.activity.signing
    if not changed and item.doubt is None and signing is None and listing is None:
        return ()
    found = []
    if listing is not None:
        found.append(Reason(feature=LISTED, observed=listing.words, usual="", share=0.0))
    if changed:
        what = ", ".join(changed)
        found.append(Reason(feature=CHANGED, observed=f"{what} differs", usual="as first told", share=0.0))
    if item.doubt is not None:
        found.append(Reason(feature=DOUBT, observed=item.doubt, usual="", share=0.0))
    if signing is not None and signing.summary is not None:
        found.append(Reason(feature=SIGNS, observed=signing.summary, usual="", share=0.0))
    return tuple(found)


def judged(assessment: Assessment, decision: str, extra: tuple[Reason, ...] = ()) -> Judged:
    """Return an assessment as it is stored; `decision` may be stronger than the engine's own."""
    reasons = [*extra, *assessment.reasons]
    for signal in assessment.signals:
        reasons.extend(signal.reasons)
    told = _ENCODER.encode(reasons).decode() if reasons else _NO_REASONS
    history = _ENOUGH if assessment.history is History.ENOUGH else _NOT_ENOUGH
    return Judged(decision, assessment.score, assessment.p_value, history, told)


def detectors_of(assessment: Assessment) -> tuple[str, ...]:
    """Return the ids of the detectors that found something, shadow ones too."""
    return tuple([signal.detector for signal in assessment.signals])


def alert_of(received: Received, assessment: Assessment, decision: str, listed: str | None = None) -> tuple[Alert, str]:
    """Return the alert for an anomalous activity, and its title; `listed`: the place of which lists say the gravest."""
    activity = received.activity
    kind = _incident_kind(activity, assessment)
    counting = [signal for signal in assessment.signals if signal.decision is not Decision.ALLOW]
    alert = Alert(
        id=AlertId(new_id("alr")),
        connection=activity.connection,
        activity_id=received.activity_id,
        dedup_key=_dedup_key(activity, kind, decision, listed),
        kind=kind,
        severity=_severity(counting, decision),
        decision=decision,
        score=assessment.score,
        p_value=assessment.p_value,
        entities=entities_of(activity, listed),
        amount_usd=activity.amount_usd,
        raised_at=received.received_at,
        judged=assessment.judged,
    )
    return alert, _title(activity, counting)


def _incident_kind(activity: Activity, assessment: Assessment) -> IncidentKind:
    if assessment.playbook in set(IncidentKind):
        return IncidentKind(assessment.playbook)
    return KIND_OF_FAMILY[activity.family]


def _dedup_key(activity: Activity, kind: IncidentKind, decision: str, listed: str | None) -> str:
    """Same kind, decision and entities: one alert. A new destination or a stronger decision is a new one."""
    whose = activity.account or activity.actor or ""
    return "|".join((activity.connection, kind.value, decision, whose, listed or activity.destination or ""))


def _severity(counting: list[Signal], decision: str) -> Severity:
    least = Severity.HIGH if decision == "hold" else Severity.MEDIUM
    return max((_SEVERITY[signal.severity.value] for signal in counting), default=least)


def _title(activity: Activity, counting: list[Signal]) -> str:
    if counting:
        return max(counting, key=lambda signal: (signal.decision.strength, signal.severity.rank)).title
    return f"Unusual {activity.kind.replace('.', ' ').replace('_', ' ')}"


def _within(connection: str, name: str | None) -> str | None:
    return f"{connection}/{name}" if name else None


def microseconds(moment: datetime) -> int:
    """Return a moment as UTC epoch microseconds, exactly."""
    return (moment - _EPOCH) // _MICROSECOND
