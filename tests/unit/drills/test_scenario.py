"""Scenario files load strictly, and an error names the file, the field and what to do."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from drills import addresses, moves, seeding, traffic
from drills.emulator.settings import Seed
from drills.scenario import FOLDER, ScenarioError, gate_off, load, load_named, names
from drills.scenario_form import Scenario

END = datetime(2026, 1, 15, 12, tzinfo=UTC)


def test_the_scenarios_come_along() -> None:
    assert names() == ["benign-day", "bybit-2025", "bybit-2025-gate-off", "kucoin-2020", "ronin-2024"]


@pytest.fixture(params=["benign-day", "bybit-2025", "bybit-2025-gate-off", "kucoin-2020", "ronin-2024"])
def scenario(request: pytest.FixtureRequest) -> Scenario:
    return load_named(request.param)


def test_value_at_risk() -> None:
    assert load_named("kucoin-2020").value_at_risk_usd() == Decimal("139218000.00")
    assert load_named("benign-day").value_at_risk_usd() == 0


def test_kucoin_facts() -> None:
    scenario = load_named("kucoin-2020")
    ether = sum(Decimal(b.amount) for a in scenario.accounts for b in a.balances if b.asset == "ETH")
    assert ether == 11_480
    assert (scenario.reality.first_action_after_s, scenario.reality.contained_after_s) == (29 * 60, 119 * 60)
    first = scenario.reality.facts[0].at
    assert first == datetime(2020, 9, 26, 2, 51, tzinfo=first.tzinfo) - timedelta(hours=8)


def test_a_scenario_makes_a_world_and_calls(scenario: Scenario) -> None:
    accounts = addresses.of_accounts(scenario, {})
    world = seeding.world(scenario, accounts)
    seed = msgspec.convert({**world, "workspace_id": "w", "tenant_id": "t"}, Seed)
    assert len(seed.accounts) == len(scenario.accounts)
    calls = moves.calls(scenario, accounts)
    assert [c.at_s for c in calls] == sorted(c.at_s for c in calls)
    assert {c.number for c in calls} == set(range(len(scenario.script)))
    assert calls[-1].at_s <= 60


def test_known_addresses_come_first() -> None:
    scenario = load_named("kucoin-2020")
    told = "eip155:1:0x" + "ab" * 20
    found = addresses.of_accounts(scenario, {"hot-eth-1": told})
    assert found["hot-eth-1"] == told
    theft = moves.calls(scenario, found)[0]
    assert theft.body["from_address"] == told


def test_history_is_reproducible_ordered_and_whole(scenario: Scenario) -> None:
    accounts = addresses.of_accounts(scenario, {})
    lines = traffic.history(scenario, END, accounts)
    assert lines == traffic.history(scenario, END, accounts)
    times = [str(line["timestamp"]) for line in lines]
    assert times == sorted(times)
    assert times[-1] < "2026-01-15T12:00:00.000000Z"
    assert len({line["id"] for line in lines}) == len(lines)
    for raw in traffic.ndjson(lines):
        line = msgspec.json.decode(raw)
        assert "actor" in line["data"]
        if line["type"] == "withdrawal.requested":
            assert line["data"]["amount_base_units"].isdigit()
            assert Decimal(line["data"]["amount_usd"]) > 0
            assert line["data"]["destination"].startswith("eip155:1:0x")


def test_another_run_has_other_ids() -> None:
    scenario = load_named("kucoin-2020")
    accounts = addresses.of_accounts(scenario, {})
    first, second = (traffic.history(scenario, END, accounts, run) for run in ("1", "2"))
    assert not {line["id"] for line in first} & {line["id"] for line in second}
    assert [line["timestamp"] for line in first] == [line["timestamp"] for line in second]


def drop(*path: str | int) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        del data[path[-1]]

    return change


def put(value: object, *path: str | int) -> Callable[[Any], None]:
    def change(data: Any) -> None:
        for step in path[:-1]:
            data = data[step]
        data[path[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (drop("title"), "field `title` is missing; add it"),
        (drop("accounts", 0, "holder"), "field `accounts[0].holder` is missing; add it"),
        (drop("script", 2, "basis"), "field `script[2].basis` is missing; add it"),
        (put(1, "surprise"), "field `surprise` is not known; remove it"),
        (put(600.5, "script", 0, "amount"), "field `script[0].amount`: Expected `str | null`, got `float`"),
        (put(7000, "accounts", 0, "balances", 0, "amount"), "write the number in quotes"),
        (put("nobody", "script", 0, "account"), "field `script[0].account`: 'nobody' is not under `accounts`"),
        (put("cold-safe-1", "script", 0, "to"), "field `script[0].to`: a stolen key pays an attacker"),
        (put(9999, "script", 0, "at_s"), "field `script[1].at_s`: 240 comes before 9999; put the moves in order"),
        (put("7001", "script", 0, "amount"), "field `script[0].amount`: hot-eth-1 does not hold that much ETH"),
        (put("1.0000001", "accounts", 0, "balances", 1, "amount"), "more places than the asset"),
        (put("no_hold", "expected", "outcome"), "field `expected.outcome`"),
        (put("other", "name"), "must equal the file's name"),
        (put("hot-eth-2", "accounts", 0, "id"), "the id 'hot-eth-2' is used twice"),
        (put("2020-09-25T18:51:00", "reality", "facts", 0, "at"), "field `reality.facts[0].at`"),
    ],
)
def test_errors_name_file_field_and_remedy(tmp_path: Path, change: Callable[[Any], None], words: str) -> None:
    data = yaml.safe_load((FOLDER / "kucoin-2020.yaml").read_text())
    change(data)
    path = tmp_path / "kucoin-2020.yaml"
    path.write_text(yaml.safe_dump(data))
    with pytest.raises(ScenarioError) as found:
        load(path)
    assert str(path) in str(found.value)
    assert words in str(found.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [("name: a\nname: b\n", "key 'name' is given twice"), ("a: [", "not valid YAML"), ("- 1\n", "Expected `object`")],
)
def test_files_that_are_no_mapping(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    with pytest.raises(ScenarioError, match=words):
        load(path)


def test_unknown_names_and_files(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match="benign-day, bybit-2025, bybit-2025-gate-off, kucoin-2020"):
        load_named("../kucoin-2020")
    with pytest.raises(ScenarioError, match="cannot be read"):
        load(tmp_path / "none.yaml")


def test_a_variant_without_the_gate_says_so_and_ends_otherwise() -> None:
    plain, off = load_named("bybit-2025"), load_named("bybit-2025-gate-off")
    assert (plain.asks_gate, off.asks_gate) == (True, False)
    assert off.name == "bybit-2025-gate-off"
    assert off.title.endswith("with the gate OFF")
    assert off.script == plain.script
    with pytest.raises(ScenarioError, match="kucoin-2020 does not say how it ends with the gate off"):
        gate_off(load_named("kucoin-2020"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("accounts", 0, "holder", "platform"), "accounts[0].safe`: only an account with holder `multisig`"),
        (("accounts", 0, "safe", {"owners": ["cold-owner-1", "nobody"], "threshold": 1}), "'nobody' is neither a person"),
        (("accounts", 0, "safe", {"owners": ["hana", "keeper-1"], "threshold": 1}), "an account of the platform"),
        (("accounts", 0, "safe", {"owners": ["cold-owner-1", "keeper-1"], "threshold": 2}), "must meet the threshold"),
        (("script", 0, "signs", {"safe": "warm-1", "target": "thief", "signers": []}), "is no account with `safe`"),
        (("script", 0, "signs", {"safe": "cold-safe", "target": "thief", "signers": ["hana", "lena"]}), "with `usurper`"),
        (
            ("script", 0, "signs", {"safe": "cold-safe", "target": "malicious-implementation", "signers": ["hana"]}),
            "as many owners as the threshold must sign",
        ),
        (
            (
                "script", 0, "signs",
                {"safe": "cold-safe", "target": "malicious-implementation", "signers": ["hana", "keeper-1"]},
            ),
            "those who sign before are people",
        ),
    ],
)  # fmt: skip
def test_what_does_not_fit_a_safe_is_named(change: tuple[str, int, str, Any], said: str, tmp_path: Path) -> None:
    whole = yaml.safe_load((FOLDER / "bybit-2025.yaml").read_text())
    group, number, field, value = change
    whole[group][number][field] = value
    path = tmp_path / "bybit-2025.yaml"
    path.write_text(yaml.safe_dump(whole))
    with pytest.raises(ScenarioError) as raised:
        load(path)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"outcome": "contained"}, "only `locked_in_time`"), ({}, "it is for scripts with a signing_request")],
)
def test_an_ending_without_the_gate_must_fit(change: dict[str, str], said: str, tmp_path: Path) -> None:
    name = "bybit-2025" if change else "kucoin-2020"
    whole = yaml.safe_load((FOLDER / f"{name}.yaml").read_text())
    off = yaml.safe_load((FOLDER / "bybit-2025.yaml").read_text())["without_gate"]
    path = tmp_path / f"{name}.yaml"
    path.write_text(yaml.safe_dump(whole | {"without_gate": off | change}))
    with pytest.raises(ScenarioError, match=said):
        load(path)
