"""What came of a drill, in figures: money from the emulator's ledger alone, times from the moment of our first 2xx.

Rules: the clock starts when the service answered the first harmful activity with 2xx, or its co-signer question if that
came first; a service that knew before it answered was detected at zero; nothing that did not happen gets a time.
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from decimal import Decimal
from typing import Any

from drills import addresses
from drills.runner.attack import Played
from drills.runner.watch import seconds
from drills.scenario_form import Scenario

Json = dict[str, Any]
MILLISECONDS = 1000.0
LOCK = "lock_multisig"
HOLDS = ("suspend_withdrawals", LOCK)


@dataclass(frozen=True, slots=True)
class Summary:
    """The file that a drill writes; USD as decimal strings, times in seconds, None for what did not happen."""

    scenario: str
    value_at_risk_usd: str
    value_lost_usd: str
    value_saved_usd: str
    detected_after_s: float | None
    held_after_s: float | None
    contained_after_s: float | None
    at_rest_after_s: float | None
    locked_after_s: float | None
    incident_id: str | None
    review_path: str | None
    compression: int
    random_seed: int
    history_activities: int
    votes: int
    gate: bool = True
    """Whether the platform asked the gate before it signed."""
    succeeded: bool = False
    checks: tuple[tuple[str, bool], ...] = ()

    def as_json(self) -> Json:
        """Return the file's content."""
        fields = asdict(self)
        fields["checks"] = [{"check": name, "held": held} for name, held in self.checks]
        return fields


@dataclass(frozen=True, slots=True)
class Moments:
    """Unix seconds of what a drill measures."""

    first_harm: float | None
    detected: float | None
    held: float | None
    contained: float | None
    """When everything that was known then held and was swept, for the first time; what is lost later is counted."""
    at_rest: float | None
    """The same for the last time: a later move of the thief, however small, opens containment again."""
    locked: float | None = None
    """When the last lock of a multisig held."""

    def after(self, moment: float | None) -> float | None:
        """Return the seconds from the first harm to a moment, never below zero, to the millisecond."""
        if self.first_harm is None or moment is None:
            return None
        return round(max(0.0, moment - self.first_harm), 3)


def first_answer_s(
    first: Played | None, transactions: list[Json], deliveries: list[Json], callbacks: list[Json]
) -> float | None:
    """Return when the service first answered the first harmful activity with 2xx, None while it has not."""
    if first is None or first.answer is None:
        return None
    transaction = _transaction_of(first.answer, transactions)
    if transaction is None:
        return None
    answered = [d["delivered_at_ms"] for d in deliveries if d["resource_id"] == transaction["id"]]
    asked = [c["at_ms"] for c in callbacks if str(c["request_id"]).startswith(transaction["id"])]
    times = [t for t in (*answered, *asked) if t is not None]
    return min(times) / MILLISECONDS if times else None


def moments(first_harm: float | None, incident: Mapping[str, Any] | None) -> Moments:
    """Read the moments of an incident, as far as they came."""
    if incident is None:
        return Moments(first_harm, None, None, None, None)
    steps = incident["steps"]
    holds, locks = _finished(steps, *HOLDS), _finished(steps, LOCK)
    contained = [seconds(line["at"]) for line in incident["timeline"] if line["kind"] == "incident.contained"]
    return Moments(
        first_harm,
        min([seconds(incident["opened_at"]), *(seconds(a["raised_at"]) for a in incident["alerts"])]),
        min(holds, default=None),
        min(contained, default=None),
        max(contained, default=None) if incident["contained_at"] is not None else None,
        max(locks, default=None),
    )


def _finished(steps: list[Json], *actions: str) -> list[float]:
    return [seconds(s["finished_at"]) for s in steps if s["action"] in actions and s["state"] == "done"]


def lost_since_usd(scenario: Scenario, ledger: Json, at_s: float) -> Decimal:
    """Return what reached attackers' addresses after a moment, by the ledger's movements at the scenario's prices."""
    known = addresses.of_destinations(scenario)
    attackers = {known[d.id] for d in scenario.destinations if d.kind == "attacker"}
    total = Decimal(0)
    for moved in ledger["movements"]:
        if moved["to"] in attackers and moved["at_ms"] > at_s * MILLISECONDS:
            asset = scenario.asset(str(moved["asset"]))
            total += Decimal(moved["amount_base_units"]).scaleb(-asset.decimals) * Decimal(asset.price_usd)
    return total


def exchanges_of(transaction_id: str, callbacks: Iterable[Json]) -> list[str]:
    """Return what the gate answered about one transaction, in order."""
    return [str(c["result"]) for c in callbacks if str(c["request_id"]).startswith(transaction_id)]


def _transaction_of(answer: Mapping[str, Any], transactions: list[Json]) -> Json | None:
    wanted = answer.get("transaction")
    tx_hash = answer.get("tx_hash")
    return next(
        (t for t in transactions if t["id"] == wanted or (tx_hash is not None and t.get("txHash") == tx_hash)), None
    )
