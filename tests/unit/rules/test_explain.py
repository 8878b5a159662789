"""Words: every feature means something, and reasons are told in units that a person understands."""

import math
import re

import pytest

from rules.explain import MEANINGS, NO_HISTORY, meaning, reason_for
from rules.features.catalogue import BY_NAME, FEATURES, GROUP_NAMES, GROUPS, WEIGHTS
from rules.features.declared import Feature, declare
from rules.features.names import NAMES


def told(name: str, value: float, low: float, high: float) -> tuple[str, str]:
    reason = reason_for(BY_NAME[name].index, value, low, high, 0.5, None)
    assert reason.feature == name
    return reason.observed, reason.usual.replace("\N{EN DASH}", "-")


@pytest.mark.parametrize(
    ("name", "numbers", "words"),
    [
        ("amount_usd", (18_000.0, 41.2, 903.0), ("18,000 USD", "41-900 USD")),
        ("share_of_balance", (0.8, 0.001, 0.02), ("80 %", "0.1-2 %")),
        ("seconds_since_last", (8_640_000.0, 3000.0, 90_000.0), ("100 d", "50 min - 25 h")),
        ("new_country", (1.0, 0.02, 0.02), ("yes", "in 2 % of cases")),
        ("hour_of_week", (27.0, 9.0, 9.0), ("Tue 03h UTC", "mostly around 09h UTC")),
        ("fan_in_accounts", (4.0, 1.0, 1.0), ("4", "1")),
        ("travel_speed_kmh", (7631.0, 0.0, 1000.0), ("7,631 km/h", "0-1,000 km/h")),
        ("amount_drift", (4.21, -1.645, 1.645), ("4.21", "-1.6-1.6")),
        ("dormant_days", (93.0, math.nan, math.nan), ("93 d", NO_HISTORY)),
    ],
)
def test_reasons(name: str, numbers: tuple[float, float, float], words: tuple[str, str]) -> None:
    assert told(name, *numbers) == words


@pytest.mark.parametrize("feature", FEATURES, ids=lambda feature: feature.name)
def test_every_feature_can_be_told(feature: Feature) -> None:
    assert re.fullmatch(r"[A-Z].{10,140}\.", meaning(feature))
    assert feature.unit
    assert feature.reads
    assert feature.null_when
    most = {"hour": 151.0, "kind": 4.0}.get(feature.unit[:4], 1e18)
    for value in (0.0, 0.4, 1.0, min(most, 151.0), most):
        reason = reason_for(feature.index, value, value, 2.0 * value, 0.1, "rule")
        assert reason.observed
        assert len(reason.usual) < 80


def test_nothing_is_told_of_features_that_are_not_declared() -> None:
    assert set(MEANINGS) == set(NAMES)


def test_groups_and_weights_stand_by_index() -> None:
    for feature in FEATURES:
        assert (GROUPS[feature.index] == -1) is not feature.scored
        if feature.scored:
            assert GROUP_NAMES[GROUPS[feature.index]] == feature.group
            assert 0.0 < WEIGHTS[feature.index] <= 1.0


@pytest.mark.parametrize(("name", "says"), [("amount_usd", "twice"), ("no_such", "no place")])
def test_a_feature_is_declared_once_and_in_its_place(name: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        declare(name, unit="USD", reads="nothing", null_when="always")
