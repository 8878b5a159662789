"""The end of a drill: incidents closed with a verdict, the review fetched, figures and proofs gathered and judged."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from drills.evm.safe import LOCKED_ERROR
from drills.runner.attack import Played
from drills.runner.errors import ApiError, DrillError
from drills.runner.figures import Summary, lost_since_usd, moments
from drills.runner.opening import Stage
from drills.runner.outcomes import Check, Evidence, Json, SafeFacts, checks
from drills.runner.proofs import prove
from drills.runner.story import Story
from drills.safes import Safes
from drills.scenario_form import Scenario, SigningRequest

REVIEW_TIMEOUT_S = 30.0
TICK_S = 0.1
NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Ending:
    """What was played and watched, as it stands when nothing moves any more."""

    scenario: Scenario
    stage: Stage
    story: Story
    played: tuple[Played, ...]
    incident: str | None
    """The incident that the scenario is about."""
    probe: str | None
    votes: int


def close_incidents(ending: Ending, incidents: Iterable[str]) -> str:
    """Close every incident; returns the main one's review page, empty when there is none. DrillError, ApiError."""
    stage = ending.stage
    verdict = "false_positive" if ending.scenario.expected.outcome == "no_hold" else "true_positive"
    for incident_id in incidents:
        path = f"/v1/incidents/{incident_id}"
        body = {"verdict": verdict, "version": stage.service.get(path, stage.reader)["version"]}
        stage.service.post(f"{path}/close", stage.token("responder"), body)
    return "" if ending.incident is None else _await_review(stage, ending.incident)


def sum_up(ending: Ending, review: str, folder: Path) -> Summary:
    """Judge what happened and write the review beside the summary."""
    stage, scenario = ending.stage, ending.scenario
    evidence = _evidence(ending, review)
    found = checks(evidence)
    path = folder / "review.html"
    path.unlink(missing_ok=True)
    if review:
        path.write_text(review)
    figures, when = evidence.figures, evidence.moments
    return Summary(
        scenario=scenario.name,
        value_at_risk_usd=str(figures["value_at_risk_usd"] or "0.00"),
        value_lost_usd=str(figures["value_lost_usd"]),
        value_saved_usd=str(figures["value_saved_usd"]),
        detected_after_s=when.after(when.detected),
        held_after_s=when.after(when.held),
        contained_after_s=when.after(when.contained),
        at_rest_after_s=when.after(when.at_rest),
        locked_after_s=when.after(when.locked),
        incident_id=ending.incident,
        review_path=str(path) if review else None,
        compression=scenario.compression,
        random_seed=scenario.random_seed,
        history_activities=stage.history,
        votes=ending.votes,
        gate=scenario.asks_gate,
        succeeded=all(held for _, held in found),
        checks=found,
    )


def _evidence(ending: Ending, review: str) -> Evidence:
    stage = ending.stage
    incident: Json | None = None
    if ending.incident is not None:
        incident = stage.service.get(f"/v1/incidents/{ending.incident}", stage.reader)
    answers = [p.answer for p in ending.played if p.answer is not None]
    anomalous = stage.service.pages("/v1/activities", stage.reader, anomalous="true")
    when = moments(ending.story.first_harm_s, incident)
    late = None
    if when.contained is not None:
        late = lost_since_usd(ending.scenario, stage.platform.ledger(), when.contained)
    return Evidence(
        scenario=ending.scenario,
        figures=stage.platform.figures(),
        transactions=stage.platform.transactions(),
        callbacks=stage.platform.callbacks(),
        incident=incident,
        decisions=tuple(str(a["decision"]) for a in anomalous),
        moments=when,
        lost_late_usd=late,
        probe=ending.probe,
        ordered=tuple(str(a["transaction"]) for a in answers if "transaction" in a),
        review=review,
        proofs=_proofs(ending),
        safes=None if stage.safes is None else _safe_facts(ending.scenario, stage.safes),
    )


def _safe_facts(scenario: Scenario, safes: Safes) -> SafeFacts:
    asked = {m.signs.safe: m for m in scenario.script if isinstance(m, SigningRequest)}
    usurped = frozenset(a.id for a in scenario.safes if safes.usurped(a.id))
    return SafeFacts(
        usurped=usurped,
        locked=frozenset(a.id for a in scenario.safes if a.id not in usurped and safes.made[a.id].is_locked()),
        refusing=frozenset(a for a, m in asked.items() if a not in usurped and safes.refusal(m) == LOCKED_ERROR),
    )


def _proofs(ending: Ending) -> tuple[Check, ...]:
    held, said = prove(ending.stage.home)
    for sentence in said:
        ending.story.tell("bad", sentence)
    return held


def _await_review(stage: Stage, incident_id: str) -> str:
    end = time.monotonic() + REVIEW_TIMEOUT_S
    while True:
        try:
            return stage.service.text(f"/v1/reviews/{incident_id}/page", stage.reader)
        except ApiError as error:
            if error.status != NOT_FOUND:
                raise
        if time.monotonic() > end:
            raise DrillError("the review was not written within 30 s; look into logs/containment.log of the home")
        time.sleep(TICK_S)
