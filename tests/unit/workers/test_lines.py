"""The calls of a connection are kept while its row stays the same, and tell whether its platform answered."""

from types import SimpleNamespace
from typing import cast

import pytest

from service.domain.ids import ConnectionId
from service.ports.custody import ConnectionConfig, ContainmentCalls
from workers import lines
from workers.lines import Lines


def config(**settings: str) -> ConnectionConfig:
    return ConnectionConfig(ConnectionId("main"), "standard", settings, lambda _: b"", ())


class Maker:
    def __init__(self) -> None:
        self.made: list[ConnectionConfig] = []

    def __call__(self, made: ConnectionConfig) -> ContainmentCalls:
        self.made.append(made)
        return cast("ContainmentCalls", object())


def test_the_same_row_gets_the_same_calls() -> None:
    maker = Maker()
    kept = Lines(maker)
    assert kept.to(config(url="a"), {"key": b"1"}) is kept.to(config(url="a"), {"key": b"1"})
    assert len(maker.made) == 1


@pytest.mark.parametrize(("settings", "sealed"), [({"url": "b"}, {"key": b"1"}), ({"url": "a"}, {"key": b"2"})])
def test_a_changed_row_or_secret_gets_new_ones(settings: dict[str, str], sealed: dict[str, bytes]) -> None:
    maker = Maker()
    kept = Lines(maker)
    before = kept.to(config(url="a"), {"key": b"1"})
    assert kept.to(config(**settings), sealed) is not before


def test_after_a_while_they_are_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    maker, now = Maker(), [0.0]
    monkeypatch.setattr(lines, "time", SimpleNamespace(monotonic=lambda: now[0]))
    kept = Lines(maker)
    kept.to(config(), {})
    now[0] = lines.LONGEST + 1
    kept.to(config(), {})
    assert len(maker.made) == 2


def test_what_was_heard_last_is_told_once() -> None:
    maker = Maker()
    kept = Lines(maker)
    kept.to(config(), {})
    main = ConnectionId("main")
    assert kept.heard(main) is None
    for answered in (True, False):
        maker.made[0].heard(answered)
    assert kept.heard(main) is False
    assert kept.heard(main) is None
