"""Directions of settings, and the rows that suppressions become: pure, so each case is one line."""

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from rules.entities import Suppressions
from rules.learning import Suppression as Row
from rules.settings import EngineSettings
from service.domain.approval import same
from service.domain.blinding import (
    DIRECTIONS,
    LONGEST,
    Suppression,
    changed,
    moved,
    settings_item,
    settings_to,
    shown_settings,
    suppression_of,
)
from service.domain.errors import InputError

NOW = datetime(2026, 3, 1, 12, 0, 0, 1, tzinfo=UTC)
SETTINGS = EngineSettings(salt="secret", alerts_per_day=10.0)


def suppression(**changes: object) -> Suppression:
    fields: dict[str, object] = {
        "id": "sup_1",
        "entity": "account:main/hot-1",
        "detector": None,
        "owner": "per_1",
        "reason": "A test.",
        "expires_at": NOW + timedelta(days=1),
    }
    return msgspec.convert({**fields, **changes}, Suppression)


def test_every_setting_with_a_direction_is_one_of_the_engines() -> None:
    assert set(DIRECTIONS) <= set(EngineSettings.__struct_fields__)
    assert "salt" not in DIRECTIONS


@pytest.mark.parametrize(
    ("changes", "loosens"),
    [
        ({"hold_p": 1e-6}, True),
        ({"hold_p": 1e-4}, False),
        ({"hold_floor": 8.5}, True),
        ({"hold_floor": 7.5}, False),
        ({"alert_p": 1e-2}, True),
        ({"alert_p": 1e-4}, True),
        ({"alert_floor": 2.0}, True),
        ({"alert_floor": 4.0}, True),
        ({"alerts_per_day": 11.0}, True),
        ({"alerts_per_day": 9.0}, True),
        ({"alerts_per_day": None}, True),
        ({"alerts_per_day_by_severity": {"medium": 3.0}}, True),
        ({"hold_p": 1e-4, "hold_floor": 9.0}, True),
    ],
)
def test_which_way_a_setting_loosens(changes: dict[str, object], loosens: bool) -> None:  # noqa: FBT001  a case
    found = moved(SETTINGS, changed(SETTINGS, changes))
    assert {one.name for one in found} == set(changes)
    assert any(one.loosens for one in found) is loosens


def test_an_approved_change_is_rebuilt_from_its_document_alone() -> None:
    new = changed(SETTINGS, {"hold_p": 1.25e-7, "alerts_per_day": None, "alerts_per_day_by_severity": {"high": 1.5}})
    item = settings_item(SETTINGS, new)
    assert settings_to(item, SETTINGS) == new
    assert same(item, settings_item(SETTINGS, new))
    with pytest.raises(InputError, match="not those"):
        settings_to(item, msgspec.structs.replace(SETTINGS, hold_floor=1.0))
    assert "secret" not in str(item)
    assert "salt" not in shown_settings(SETTINGS)


@pytest.mark.parametrize(
    "entity",
    [
        "account:main/hot-1",
        "actor:main/ops key",
        "device:m/1",
        "destination:eip155:1:0xabc",
        "network:as64500",
        "network:203.0.113.0/24",
        "network:2001:db8:1::/48",
    ],
)
def test_a_suppression_becomes_a_row_that_the_engine_knows(entity: str) -> None:
    asked = suppression(entity=entity, detector="payout-burst")
    row = msgspec.json.decode(asked.row(), type=Row)
    assert (row.id, row.entity, row.detector, row.owner) == ("sup_1", entity, "payout-burst", "per_1")
    assert row.until_us == 1_772_452_800_000_001
    known = Suppressions()
    known.put(row.id, asked.row(), "")
    assert list(known.stored) == [row.id]
    assert suppression_of(asked.item()) == asked


def test_an_end_is_in_the_future_and_near() -> None:
    for end in (NOW, NOW - timedelta(days=1), NOW + LONGEST + timedelta(seconds=1)):
        with pytest.raises(InputError, match="90 days"):
            suppression(expires_at=end).require_bounded(NOW)
    suppression(expires_at=NOW + LONGEST).require_bounded(NOW)


def test_a_document_with_other_parameters_is_no_suppression() -> None:
    item = suppression().item()
    for params in ({}, {"id": "x"}, {**item.params, "expires_at": "soon"}, {**item.params, "entity": "*"}):
        with pytest.raises(InputError):
            suppression_of(msgspec.structs.replace(item, params=params))
