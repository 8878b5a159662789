"""Figures and checks: what must be true, and that each check can fail."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from drills import addresses
from drills.moves import ControlCall
from drills.runner.attack import Played, first_harmful
from drills.runner.figures import Moments, first_answer_s, lost_since_usd, moments
from drills.runner.outcomes import Evidence, SafeFacts, checks
from drills.scenario import load_named

ACCOUNTS = ("hot-eth-1", "hot-eth-2", "hot-eth-3")
AT = "2026-01-01T00:00:{:02d}Z"
START = 1767225600.0


def step(action: str, account: str, second: int = 3) -> dict[str, Any]:
    return {"action": action, "state": "done", "target": {"value": account}, "finished_at": AT.format(second)}


def incident() -> dict[str, Any]:
    return {
        "id": "inc_1",
        "kind": "drain",
        "opened_at": AT.format(2),
        "contained_at": AT.format(9),
        "alerts": [{"raised_at": AT.format(1)}],
        "timeline": [{"kind": "incident.contained", "at": AT.format(second)} for second in (9, 7)],
        "steps": [step(a, account) for a in ("suspend_withdrawals", "sweep_to_safe") for account in ACCOUNTS],
    }


def figures(**over: object) -> dict[str, Any]:
    return {
        "conserved": True,
        "value_lost_usd": "4000000.00",
        "value_at_risk_usd": "139000000.00",
        "value_left_usd": "120.00",
        "value_swept_usd": "135000000.00",
        **over,
    }


def evidence(**over: Any) -> Evidence:
    found = Evidence(
        scenario=load_named("kucoin-2020"),
        figures=figures(),
        transactions=[{"id": "t-probe", "status": "PENDING_SIGNATURE"}],
        callbacks=[{"request_id": "t-probe", "result": "RETRY", "at_ms": 1}],
        incident=incident(),
        decisions=("hold",),
        moments=moments(START, incident()),
        lost_late_usd=Decimal(2),
        probe="t-probe",
        ordered=(),
        review="<!doctype html><html></html>",
        proofs=(("the audit log verifies", True),),
    )
    return replace(found, **over)


def failing(found: Evidence) -> list[str]:
    return [name for name, held in checks(found) if not held]


def test_a_contained_drain_passes() -> None:
    assert failing(evidence()) == []


@pytest.mark.parametrize(
    ("over", "named"),
    [
        ({"figures": figures(value_lost_usd="100000001.00")}, "lost at most"),
        ({"figures": figures(conserved=False)}, "accounted for"),
        ({"figures": figures(value_left_usd="1000000.00")}, "safe destination"),
        ({"figures": figures(value_swept_usd="0.00")}, "safe destination"),
        ({"lost_late_usd": Decimal(1_000_000)}, "after containment"),
        ({"lost_late_usd": None}, "after containment"),
        ({"callbacks": []}, "kept from being signed"),
        ({"callbacks": [{"request_id": "t-probe", "result": "APPROVE"}]}, "kept from being signed"),
        ({"transactions": [{"id": "t-probe", "status": "COMPLETED"}]}, "kept from being signed"),
        ({"probe": None}, "kept from being signed"),
        ({"incident": {**incident(), "kind": "account_takeover"}}, "kind drain"),
        ({"incident": {**incident(), "steps": incident()["steps"][:-1]}}, "swept by quorum"),
        ({"incident": {**incident(), "steps": incident()["steps"][1:]}}, "suspended"),
        ({"incident": None, "moments": Moments(START, None, None, None, None)}, "contained"),
        ({"review": ""}, "review"),
        ({"proofs": (("the audit log verifies", False),)}, "audit log"),
    ],
)
def test_each_check_can_fail(over: dict[str, Any], named: str) -> None:
    assert any(named in name for name in failing(evidence(**over)))


def refused(**over: Any) -> Evidence:
    found = evidence(
        scenario=load_named("bybit-2025"),
        figures=figures(value_lost_usd="0.00"),
        incident={**incident(), "kind": "signing_tampering"},
        ordered=("t-1",),
        transactions=[{"id": "t-1", "status": "REJECTED"}],
        callbacks=[{"request_id": "t-1", "result": "REJECT"}],
    )
    return replace(found, **over)


def test_a_refused_signing_request_passes_and_a_signed_one_does_not() -> None:
    assert failing(refused()) == []
    assert failing(refused(callbacks=[{"request_id": "t-1", "result": "RETRY"}])) == [
        "the gate answered REJECT to the signing request"
    ]
    assert failing(refused(transactions=[{"id": "t-1", "status": "COMPLETED"}])) == ["nothing of it was signed"]


def locked(**over: Any) -> Evidence:
    found = evidence(
        scenario=load_named("bybit-2025-gate-off"),
        figures=figures(value_lost_usd="1393200129.00", value_left_usd="194400000.00"),
        transactions=[{"id": "t-1", "status": "COMPLETED"}, {"id": "t-2", "status": "FAILED"}],
        callbacks=[],
        incident={**incident(), "kind": "signing_tampering"},
        probe=None,
        ordered=("t-1", "t-2"),
        safes=SafeFacts(frozenset({"cold-safe"}), frozenset({"cold-safe-2"}), frozenset({"cold-safe-2"})),
    )
    return replace(found, **over)


NOBODY: frozenset[str] = frozenset()
BOTH = frozenset({"cold-safe", "cold-safe-2"})


def test_what_is_left_locked_in_time_passes() -> None:
    assert failing(locked()) == []


@pytest.mark.parametrize(
    ("over", "named"),
    [
        ({"callbacks": [{"request_id": "t-1", "result": "APPROVE"}]}, "without asking anybody"),
        ({"ordered": ()}, "without asking anybody"),
        ({"safes": SafeFacts(NOBODY, BOTH, BOTH)}, "runs the thief's code"),
        ({"safes": SafeFacts(BOTH, NOBODY, NOBODY)}, "every other Safe is locked"),
        (
            {"safes": SafeFacts(frozenset({"cold-safe"}), frozenset({"cold-safe-2"}), NOBODY)},
            "the guard is what refuses",
        ),
        ({"safes": None}, "every other Safe is locked"),
        ({"figures": figures(value_lost_usd="1393200128.00", value_left_usd="194400001.00")}, "held is gone"),
        ({"figures": figures(value_lost_usd="1393200129.00", value_left_usd="194399999.00")}, "still there"),
        ({"transactions": [{"id": "t-2", "status": "COMPLETED"}]}, "it failed on the chain"),
        ({"incident": incident()}, "kind signing tampering"),
    ],
)
def test_each_check_of_a_lock_can_fail(over: dict[str, Any], named: str) -> None:
    assert any(named in name for name in failing(locked(**over)))


def test_a_lock_counts_as_the_first_hold_and_has_its_own_moment() -> None:
    told = incident() | {"steps": [step("lock_multisig", "cold-safe-2", 4), step("lock_multisig", "cold-safe", 5)]}
    found = moments(START, told)
    assert (found.after(found.held), found.after(found.locked)) == (4.0, 5.0)


def quiet(**over: Any) -> Evidence:
    found = evidence(
        scenario=load_named("benign-day"),
        figures=figures(value_lost_usd="0.00"),
        incident=None,
        decisions=("alert",),
        ordered=("t-1", "t-2"),
        transactions=[{"id": "t-1", "status": "COMPLETED"}, {"id": "t-2", "status": "COMPLETED"}],
        callbacks=[{"request_id": "t-1", "result": "APPROVE"}],
    )
    return replace(found, **over)


def test_a_quiet_day_passes_and_any_hold_fails_it() -> None:
    assert failing(quiet()) == []
    assert failing(quiet(decisions=("alert", "hold"))) == ["the service held nothing"]
    assert failing(quiet(callbacks=[{"request_id": "t-1", "result": "RETRY"}])) == [
        "the gate approved every one at once"
    ]
    assert failing(quiet(transactions=[])) == ["all 2 transfers completed"]
    assert failing(quiet(ordered=())) == ["all 0 transfers completed"]


def test_times_count_from_the_first_2xx_and_never_below_zero() -> None:
    found = moments(START + 1.5, incident())

    assert (found.after(found.detected), found.after(found.held)) == (0.0, 1.5)
    assert (found.after(found.contained), found.after(found.at_rest)) == (5.5, 7.5)
    assert moments(START, {**incident(), "contained_at": None}).at_rest is None
    assert moments(None, incident()).after(found.held) is None


def played(number: int, answer: dict[str, Any] | None) -> Played:
    move = load_named("kucoin-2020").script[number]
    return Played(ControlCall(0.0, "/emulator/steal", {}, number, move), 0.0, answer)


def test_the_first_answer_is_the_earliest_2xx_of_the_first_harmful_move() -> None:
    moves = [played(0, None), played(1, {"tx_hash": "0xab"})]
    transactions = [{"id": "t-1", "txHash": "0xab"}]
    deliveries: list[dict[str, Any]] = [
        {"resource_id": "t-1", "delivered_at_ms": 2000},
        {"resource_id": "t-1", "delivered_at_ms": None},
        {"resource_id": "t-0", "delivered_at_ms": 1},
    ]

    assert first_harmful(moves) is moves[1]
    assert first_answer_s(moves[1], transactions, deliveries, []) == 2.0
    assert first_answer_s(moves[1], transactions, deliveries, [{"request_id": "t-1", "at_ms": 1500}]) == 1.5
    assert first_answer_s(moves[1], transactions, deliveries[1:], []) is None
    assert first_answer_s(None, transactions, deliveries, []) is None


def test_what_was_lost_late_is_what_reached_attackers_after_the_moment() -> None:
    scenario = load_named("kucoin-2020")
    thief, safe = (addresses.of_destinations(scenario)[name] for name in ("thief-1", "cold-safe-1"))
    moved = {"asset": "ETH", "amount_base_units": str(10**18), "at_ms": 2000}
    ledger = {"movements": [{**moved, "to": thief}, {**moved, "to": safe}, {**moved, "to": thief, "at_ms": 500}]}

    assert lost_since_usd(scenario, ledger, 1.0) == Decimal(350)


def test_value_at_risk_is_a_number_of_the_scenario() -> None:
    assert load_named("kucoin-2020").value_at_risk_usd() > Decimal(130_000_000)
