"""Rows of observations: made together as one by one, and what is remembered of ids is bounded and changes nothing."""

import msgspec
import numpy as np
import pytest

from rules import event
from rules.engine import Engine
from rules.event import EVENT_WIDTH, rows_of, write_row
from rules.learning import LearningRecord
from rules.loader import DetectorSet
from rules.settings import EngineSettings
from tests.unit.rules.scenario import NOW, SECOND, Desk, observation

SALT = "salt"


def test_rows_made_together_are_those_made_one_by_one() -> None:
    told = Desk(3).between(NOW - 3000 * SECOND, NOW)
    assert len(told) > 10
    alone = np.empty((len(told), EVENT_WIDTH))
    for row, one in zip(alone, told, strict=True):
        write_row(row, one, SALT)
    assert rows_of(told, SALT).tobytes() == alone.tobytes()
    assert rows_of([], SALT).shape == (0, EVENT_WIDTH)


def test_what_is_remembered_is_bounded_and_only_saves_time(monkeypatch: pytest.MonkeyPatch) -> None:
    for at, name in enumerate(("_MOST_IDS", "_MOST_ASSETS", "_MOST_COUNTRIES"), start=4):
        monkeypatch.setattr(event, name, at)
    told = [
        observation(
            "withdrawal.requested", NOW, account=f"a{number}", destination=f"eip155:1:0x{number:040x}", amount_usd=1.0,
            ip=f"10.{number}.0.1", asset=f"eip155:{number}/slip44:60", country=f"place {number}",
        )
        for number in range(30)
    ]  # fmt: skip
    salt = "of this test"
    first = rows_of(told, salt)
    kept = event._keys(salt)
    most = {"ids": 4, "destinations": 4, "blocks": 4, "assets": 5, "countries": 6}
    assert set(most) == set(kept._fields)
    assert [name for name in most if not 0 < len(getattr(kept, name)) <= most[name]] == []
    assert rows_of(told[::-1], salt).tobytes() == first[::-1].tobytes()
    assert len({row.tobytes() for row in first}) == 30


def test_the_digest_of_the_settings_is_that_of_those_in_force() -> None:
    engine = Engine(EngineSettings(salt=SALT), DetectorSet((), "none"))
    assert engine.settings_digest == engine.settings.digest()
    changed = msgspec.structs.replace(engine.settings, clip=2.5)
    engine.apply(LearningRecord(1, "settings", None, changed.encode(), "", engine.settings_digest))
    assert engine.settings_digest == changed.digest() != EngineSettings(salt=SALT).digest()
