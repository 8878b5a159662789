"""Rows of observations: made together as one by one, and what is remembered of ids is bounded and changes nothing."""

import msgspec
import numpy as np
import pytest

from rules import event
from rules.engine import Engine
from rules.event import EVENT_WIDTH, fingerprint, look_key, rows_of, write_row
from rules.learning import LearningRecord
from rules.loader import DetectorSet
from rules.settings import EngineSettings
from tests.unit.rules.scenario import NOW, SECOND, Desk

SALT = "salt"


def test_rows_made_together_are_those_made_one_by_one() -> None:
    told = Desk(3).between(NOW - 3000 * SECOND, NOW)
    assert len(told) > 10
    alone = np.empty((len(told), EVENT_WIDTH))
    for row, one in zip(alone, told, strict=True):
        write_row(row, one, SALT)
    assert rows_of(told, SALT).tobytes() == alone.tobytes()
    assert rows_of([], SALT).shape == (0, EVENT_WIDTH)


def test_what_is_remembered_of_ids_is_bounded_and_only_saves_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event, "_MOST_REMEMBERED", 4)
    salt = "of this test"
    names = [f"eip155:1:0x{number:040x}" for number in range(30)]
    first = [(fingerprint(name, salt), look_key(name, salt)) for name in names]
    kept = event._keys(salt)
    assert max(len(kept.ids), len(kept.destinations)) <= 4
    assert [(fingerprint(name, salt), look_key(name, salt)) for name in reversed(names)] == first[::-1]
    assert len({one for one, _ in first}) == 30


def test_the_digest_of_the_settings_is_that_of_those_in_force() -> None:
    engine = Engine(EngineSettings(salt=SALT), DetectorSet((), "none"))
    assert engine.settings_digest == engine.settings.digest()
    changed = msgspec.structs.replace(engine.settings, clip=2.5)
    engine.apply(LearningRecord(1, "settings", None, changed.encode(), "", engine.settings_digest))
    assert engine.settings_digest == changed.digest() != EngineSettings(salt=SALT).digest()
