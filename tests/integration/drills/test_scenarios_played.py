"""The scenario files, played against the emulator without Portcullis: the world itself behaves as reality did."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest

from drills import addresses, moves, seeding
from drills.evm.anvil import running_anvil
from drills.safes import Safes
from drills.scenario import load_named
from drills.scenario_form import Scenario, SigningRequest
from tests.integration.drills.harness import Drill, OtherSide


@pytest.fixture
def play(make_drill: Any) -> Any:
    def run(scenario: Scenario, safes: Safes | None = None) -> tuple[Drill, list[int]]:
        accounts = addresses.of_accounts(scenario, {} if safes is None else safes.create())
        world = seeding.world(scenario, accounts)
        if safes is not None:
            safes.complete(accounts)
            world["node_url"] = safes.node.url
        drill = make_drill(**world)
        answers = []
        for call in moves.calls(scenario, accounts):
            body = call.body
            if safes is not None and isinstance(call.move, SigningRequest):
                body = {**body, "raw_call": safes.raw_call(call.move)}
            answer = drill.http.post(call.path, json=body)
            answers.append(answer.status_code)
            if call.path == "/emulator/transfer" and answer.status_code == 200:
                drill.wait_status(answer.json()["transaction"], "COMPLETED", "REJECTED")
        return drill, answers

    return run


def test_kucoin_without_a_sweep_loses_everything(play: Any) -> None:
    scenario = load_named("kucoin-2020")
    drill, answers = play(scenario)
    assert set(answers) == {200}
    figures = drill.get("/figures")
    assert figures["value_at_risk_usd"] == str(scenario.value_at_risk_usd())
    assert figures["value_lost_usd"] == figures["value_at_risk_usd"]
    assert (figures["value_left_usd"], figures["conserved"]) == ("0.00", True)


def test_ronin_without_containment_loses_what_the_caps_let_go(play: Any) -> None:
    drill, answers = play(load_named("ronin-2024"))
    assert set(answers) == {200}
    assert drill.get("/figures")["value_lost_usd"] == "11790200.00"


@pytest.fixture
def safes() -> Iterator[Safes]:
    scenario = load_named("bybit-2025")
    with running_anvil(scenario.chain_id) as node:
        yield Safes(scenario, node)


def test_bybit_is_lost_when_signed(play: Any, safes: Safes) -> None:
    scenario = safes.scenario
    signed, answers = play(scenario, safes)
    assert set(answers) == {200}
    figures = signed.get("/figures")
    assert Decimal(figures["value_lost_usd"]) == scenario.value_at_risk_usd()
    assert (figures["value_left_usd"], figures["conserved"]) == ("0.00", True)
    assert [safes.usurped(a.id) for a in scenario.safes] == [True, True]
    thief = addresses.of_destinations(scenario)["thief"].rsplit(":", 1)[1]
    assert safes.node.balance(thief) == 461_346_770_000_000_000_000_000
    for asset, whole in (("STETH_ETH", "102375.5"), ("METH", "8000"), ("CMETH", "15000")):
        token = str(scenario.asset(asset).contract)
        assert Decimal(safes.node.token_balance(token, thief)).scaleb(-18) == Decimal(whole)


def test_bybit_is_saved_when_refused(play: Any, safes: Safes, other_side: OtherSide) -> None:
    other_side.decide = lambda _claims: "REJECT"
    scenario = safes.scenario
    refused, answers = play(scenario, safes)
    assert answers == [200, 409, 409, 409, 409, 200, 409, 409]
    figures = refused.get("/figures")
    assert (figures["value_lost_usd"], figures["value_at_risk_usd"]) == ("0.00", str(scenario.value_at_risk_usd()))
    assert figures["conserved"] is True
    assert not any(safes.usurped(a.id) for a in scenario.safes)
    assert safes.node.balance(safes.made["cold-safe"].address) == 401_346_770_000_000_000_000_000


def test_what_the_ledger_cannot_explain_is_not_called_conserved(play: Any, safes: Safes) -> None:
    drill, _ = play(safes.scenario, safes)
    thief = addresses.of_destinations(safes.scenario)["thief"].rsplit(":", 1)[1]
    safes.node.give(thief, safes.node.balance(thief) + 1)
    assert drill.get("/figures")["conserved"] is False


def test_benign_day_completes(play: Any) -> None:
    drill, answers = play(load_named("benign-day"))
    assert set(answers) == {200}
    assert {t["status"] for t in drill.get("/transactions")} == {"COMPLETED"}
    figures = drill.get("/figures")
    assert (figures["value_lost_usd"], figures["first_harm"], figures["conserved"]) == ("0.00", None, True)
