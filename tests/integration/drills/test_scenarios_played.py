"""The scenario files, played against the emulator without Portcullis: the world itself behaves as reality did."""

from decimal import Decimal
from typing import Any

import pytest

from drills import addresses, moves, seeding
from drills.scenario import load_named
from drills.scenario_form import Scenario
from tests.integration.drills.harness import Drill, OtherSide


@pytest.fixture
def play(make_drill: Any) -> Any:
    def run(scenario: Scenario) -> tuple[Drill, list[int]]:
        accounts = addresses.of_accounts(scenario, {})
        drill = make_drill(**seeding.world(scenario, accounts))
        answers = []
        for call in moves.calls(scenario, accounts):
            answer = drill.http.post(call.path, json=call.body)
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


def test_bybit_is_lost_when_signed_and_saved_when_refused(play: Any, other_side: OtherSide) -> None:
    scenario = load_named("bybit-2025")
    signed, answers = play(scenario)
    assert set(answers) == {200}
    assert Decimal(signed.get("/figures")["value_lost_usd"]) == scenario.value_at_risk_usd()
    other_side.decide = lambda _claims: "REJECT"
    refused, answers = play(scenario)
    assert answers == [200, 409, 409, 409, 409]
    figures = refused.get("/figures")
    assert (figures["value_lost_usd"], figures["value_at_risk_usd"]) == ("0.00", str(scenario.value_at_risk_usd()))


def test_benign_day_completes(play: Any) -> None:
    drill, answers = play(load_named("benign-day"))
    assert set(answers) == {200}
    assert {t["status"] for t in drill.get("/transactions")} == {"COMPLETED"}
    figures = drill.get("/figures")
    assert (figures["value_lost_usd"], figures["first_harm"], figures["conserved"]) == ("0.00", None, True)
