"""What a detector's case of `history: none` says of somebody new is what an engine that never saw him measures.

Each case is played: the activities that its own numbers speak of (others who pay the same destination, logins that fail,
somebody's first changes of credentials), then the activity itself. Values must be those that an engine measures which
learned nothing, whether the case states them or the rule reads them and the case leaves them out. Surprises of somebody new
are everybody's: each must lie where such an engine and one that learned two ordinary weeks of others find it, or between.
In the ordinary weeks the rule must do what the case says; what is silent there is silent in the empty engine, too.
"""

from collections.abc import Callable, Iterator
from math import nan

import pytest

from rules.baseline.layout import Kind
from rules.declaration import Case
from rules.detector import Detector
from rules.engine import Engine
from rules.expression import SURPRISE, TEXTS
from rules.features.catalogue import BY_NAME
from rules.features.names import INDEX
from rules.observation import Observation
from rules.settings import EngineSettings
from rules.signal import History
from tests.support.detectors import shipped
from tests.unit.rules.scenario import HOUR, NOW, SECOND, fired, learned, observation

DETECTORS = shipped()
NEWCOMERS = [
    pytest.param(detector, case, id=f"{detector.id}: {case.name}")
    for detector in DETECTORS
    for case in detector.declaration.cases
    if case.history == "none"
]
AT = NOW + 27 * HOUR
"""A Tuesday, 03h."""

WHO = {"account": "new", "actor": "newcomer"}
TOLD_WITH: dict[str, dict[str, object]] = {
    "destination_ fan_ dust_ lookalike_": {"destination": "d"},
    "asset_ assets_": {"asset": "token-0"},
    "chain_": {"asset": "eip155:1/slip44:60"},
    "new_country travel_": {"country": "NZ"},
    "new_network network_ failed_actors": {"asn": 65_000},
    "new_device device_": {"device": "tablet"},
    "session_": {"session": "s"},
}
"""Fields that are told where a case states a feature that begins so."""

FACTS = ("delegatecall", "unlimited_approval", "governance_call", "display_mismatch")
AS_IT_IS = ("amount_usd", "contract_age_s")
CHANGES = ("mfa_reset", "password_changed", "api_key_created", "device_enrolled", "mfa_enrolled")


def fields_of(case: Case) -> dict[str, object]:
    """The fields of an activity that has what a case states."""
    stated = case.features
    told: dict[str, object] = {"actor": WHO["actor"]}
    if case.kind.startswith(("withdrawal", "signing")):
        told["account"] = WHO["account"]
    for starts, fields in TOLD_WITH.items():
        if any(name.startswith(tuple(starts.split())) for name in stated):
            told |= fields
    told |= {name: bool(stated[name]) for name in FACTS if name in stated}
    told |= {name: stated[name] for name in AS_IT_IS if name in stated}
    if "unpriced" in stated:
        told |= {"amount_units": 5.0} if stated["unpriced"] else {}
    if "share_of_balance" in stated:
        told["balance_usd"] = stated["amount_usd"] / stated["share_of_balance"]
    if "destination_listed" in stated:
        told["destination_listed"] = int(stated["destination_listed"])
    return told | ({"destination_kind": case.destination_kind} if case.destination_kind else {})


def before(case: Case) -> Iterator[Observation]:
    """What happened shortly before, by what a case states."""
    stated, told = case.features, fields_of(case)
    first = AT - int(stated.get("destination_age_s", 0.0)) * SECOND

    def times(name: str) -> range:
        return range(1, int(stated.get(name, 1.0)))

    for n in times("fan_in_accounts"):
        yield observation(case.kind, first + n, **(told | {"account": f"other-{n}", "actor": f"other-{n}"}))
    for n in times("assets_10m"):
        yield observation(case.kind, first + n, **(told | {"asset": f"token-{n}"}))
    if "dust_ratio" in stated:
        dust = {"account": "other", "actor": "other", "amount_usd": stated["amount_usd"] / stated["dust_ratio"]}
        yield observation(case.kind, AT - HOUR, **(told | dust))
    for n in times("failed_actors_10m"):
        yield observation("access.login_failed", AT - SECOND + n, actor=f"other-{n}", asn=told["asn"])
    for n in range(int(stated.get("failed_logins_10m", 0.0)) - (case.kind == "access.login_failed")):
        yield observation("access.login_failed", AT - SECOND + n, actor=WHO["actor"])
    for kind in CHANGES[: int(stated.get("credential_changes_24h", 0.0))]:
        yield observation(f"access.{kind}", AT - HOUR, actor=WHO["actor"])
    for n in times("governance_changes_24h"):
        yield observation(case.kind, AT - SECOND + n, actor=WHO["actor"])


def weighed(engine: Engine, case: Case) -> set[str]:
    """What fires on a case's activity; the engine's frame shows what was measured."""
    for one in before(case):
        engine.process(one)
    found = engine.assess(observation(case.kind, AT, **fields_of(case)))
    assert found.history is History.NOT_ENOUGH
    return fired(found)


def empty() -> Engine:
    return Engine(EngineSettings(salt="scenario", max_accounts=64), DETECTORS)


@pytest.fixture(scope="module")
def ordinary() -> Callable[[], Engine]:
    """Makes an engine that has everybody's baselines of two ordinary weeks, and nobody's own."""
    _, engine = learned()
    own = {Kind.ACCOUNT, Kind.ACTOR, Kind.DESTINATION, Kind.ASSET, Kind.DEVICE, Kind.NETWORK}
    common = [(one.entity, one.kind, one.state) for one in engine.snapshot() if one.kind not in own]

    def made() -> Engine:
        fresh = empty()
        for entity, kind, state in common:
            fresh.load(entity, kind, state)
        return fresh

    return made


def number(engine: Engine, name: str) -> float:
    of = engine.frame.values if name in INDEX else engine.frame.surprise
    return float(of[INDEX[name.removesuffix(SURPRISE)]])


@pytest.mark.parametrize(("detector", "case"), NEWCOMERS)
def test_a_case_without_history_states_what_is_measured_of_somebody_new(
    detector: Detector, case: Case, ordinary: Callable[[], Engine]
) -> None:
    first, later = empty(), ordinary()
    fires = detector.id in weighed(later, case)
    fires_at_once = detector.id in weighed(first, case)
    for name in sorted({*case.features, *(name for name in detector.expression.names if name not in TEXTS)}):
        if name in INDEX:
            about = 0.3 if BY_NAME[name].unit.endswith("about") else 0.01
            assert case.features.get(name, nan) == pytest.approx(number(first, name), rel=about, nan_ok=True), name
        else:
            low, high = sorted((number(first, name), number(later, name)))
            assert low - 0.05 <= case.features.get(name, 0.0) <= high + 0.05, name
    assert fires is (case.expect == "fires")
    assert fires or not fires_at_once
