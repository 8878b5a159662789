"""What must be true at the end of a drill for it to have happened: checked at the other side wherever it can be.

Rules: a hold counts only when the platform's co-signer was really answered RETRY and nothing of it was signed; a sweep
counts only by what the emulator's ledger shows at the safe destination; a check that cannot be made has failed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from drills.runner.figures import Moments, exchanges_of
from drills.runner.platform import SIGNED
from drills.scenario_form import Scenario, SigningRequest

Json = dict[str, Any]
Check = tuple[str, bool]
DUST_SHARE = Decimal("0.001")
"""What may be left of the value at risk after a sweep: the gas that moving it would cost."""
KINDS = {
    "contained": "drain",
    "refused_before_signing": "signing_tampering",
    "locked_in_time": "signing_tampering",
}
REFUSING = frozenset({"REJECT", "RETRY"})


@dataclass(frozen=True, slots=True)
class SafeFacts:
    """What the chain says of the real Safes, by account, at the end."""

    usurped: frozenset[str]
    locked: frozenset[str]
    refusing: frozenset[str]
    """Where the guard, and nothing else, refuses the same theft."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Everything that the checks look at. `probe` is the transfer that was ordered from a held account, if one was."""

    scenario: Scenario
    figures: Json
    transactions: list[Json]
    callbacks: list[Json]
    incident: Json | None
    decisions: tuple[str, ...]
    """The service's decisions on what it found anomalous."""
    moments: Moments
    lost_late_usd: Decimal | None
    """What was lost after containment; None when it was never contained."""
    probe: str | None
    ordered: tuple[str, ...]
    """Ids of the transactions that the script ordered at the platform."""
    review: str
    proofs: tuple[Check, ...]
    safes: SafeFacts | None = None


def checks(evidence: Evidence) -> tuple[Check, ...]:
    """Return every check of the scenario's outcome with whether it holds."""
    found = list(_common(evidence))
    match evidence.scenario.expected.outcome:
        case "contained":
            found += [*_incident(evidence), *_contained(evidence)]
        case "refused_before_signing":
            found += [*_incident(evidence), *_refused(evidence)]
        case "locked_in_time":
            found += [*_incident(evidence), *_locked(evidence)]
        case "no_hold":
            found += _no_hold(evidence)
    return tuple(found)


def expected_kind(scenario: Scenario) -> str | None:
    """Return the kind of incident that the scenario must open, None for a quiet day."""
    return KINDS.get(scenario.expected.outcome)


def _common(evidence: Evidence) -> Iterator[Check]:
    lost = Decimal(str(evidence.figures["value_lost_usd"]))
    most = Decimal(evidence.scenario.expected.lost_at_most_usd)
    yield "every unit of money is accounted for", evidence.figures["conserved"] is True
    yield f"lost at most ${most:,.0f}", lost <= most
    yield from evidence.proofs


def _incident(evidence: Evidence) -> Iterator[Check]:
    incident = evidence.incident
    wanted = expected_kind(evidence.scenario) or ""
    yield (
        f"an incident of kind {wanted.replace('_', ' ')} was opened",
        incident is not None and incident["kind"] == wanted,
    )
    yield "it was contained, and still is", evidence.moments.at_rest is not None
    yield "its review was written", "<html" in evidence.review.lower()


def _contained(evidence: Evidence) -> Iterator[Check]:
    figures, steps = evidence.figures, evidence.incident["steps"] if evidence.incident else []
    stolen = {a.id for a in evidence.scenario.accounts if a.key_stolen}
    yield "withdrawals of every account at risk are suspended", stolen <= _done(steps, "suspend_withdrawals")
    yield "a transfer from a held account was kept from being signed", _probe_held(evidence)
    yield "every account at risk was swept by quorum", stolen <= _done(steps, "sweep_to_safe")
    at_risk = Decimal(str(figures["value_at_risk_usd"] or 0))
    left, swept = Decimal(str(figures["value_left_usd"])), Decimal(str(figures["value_swept_usd"]))
    yield "what was saved arrived at the safe destination", swept > 0 and left <= at_risk * DUST_SHARE
    late = evidence.lost_late_usd
    yield "nothing but dust was lost after containment", late is not None and late <= at_risk * DUST_SHARE


def _done(steps: list[Json], action: str) -> set[str]:
    return {str(s["target"]["value"]) for s in steps if s["action"] == action and s["state"] == "done"}


def _probe_held(evidence: Evidence) -> bool:
    if evidence.probe is None:
        return False
    answers = exchanges_of(evidence.probe, evidence.callbacks)
    return bool(answers) and set(answers) <= REFUSING and not _is_signed(evidence, evidence.probe)


def _is_signed(evidence: Evidence, transaction_id: str) -> bool:
    return any(t["id"] == transaction_id and t["status"] in SIGNED for t in evidence.transactions)


def _refused(evidence: Evidence) -> Iterator[Check]:
    answers = [exchanges_of(one, evidence.callbacks) for one in evidence.ordered]
    yield "the gate answered REJECT to the signing request", any("REJECT" in one for one in answers)
    yield "nothing of it was signed", not any(_is_signed(evidence, one) for one in evidence.ordered)
    yield "nothing was lost", Decimal(str(evidence.figures["value_lost_usd"])) == 0
    if evidence.safes is not None:
        every = {a.id for a in evidence.scenario.safes}
        yield "every Safe runs its own code still, and is locked, by the chain", evidence.safes.locked == every


def _locked(evidence: Evidence) -> Iterator[Check]:
    scenario, facts, figures = evidence.scenario, evidence.safes, evidence.figures
    first = next(move.signs.safe for move in scenario.script if isinstance(move, SigningRequest))
    others = frozenset(a.id for a in scenario.safes) - {first}
    gone = scenario.value_usd([first])
    last = evidence.ordered[-1] if evidence.ordered else ""
    status = {str(t["id"]): str(t["status"]) for t in evidence.transactions}
    yield "the platform signed without asking anybody", bool(evidence.ordered) and not evidence.callbacks
    yield f"{first} runs the thief's code, by the chain", facts is not None and facts.usurped == {first}
    yield f"what {first} held is gone, by the chain's balances", Decimal(str(figures["value_lost_usd"])) == gone
    yield "every other Safe is locked, by the chain", facts is not None and facts.locked == others
    yield "its owners signed the same theft, and it failed on the chain", status.get(last) == "FAILED"
    yield "the guard is what refuses it", facts is not None and facts.refusing == others
    left = Decimal(str(figures["value_left_usd"]))
    yield "everything that was left is still there, by the chain's balances", left == scenario.value_usd(others)


def _no_hold(evidence: Evidence) -> Iterator[Check]:
    status = {str(t["id"]): str(t["status"]) for t in evidence.transactions}
    unfinished = [one for one in evidence.ordered if status.get(one) != "COMPLETED"]
    yield f"all {len(evidence.ordered)} transfers completed", bool(evidence.ordered) and not unfinished
    yield "the gate approved every one at once", all(c["result"] == "APPROVE" for c in evidence.callbacks)
    yield "the service held nothing", "hold" not in evidence.decisions
