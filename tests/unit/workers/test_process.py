"""How a child of the pool begins."""

import os
from typing import Any, cast

import pytest

from workers.kinds import KINDS
from workers.process import BEHIND, Child, WorkerKind


@pytest.mark.parametrize(("kind", "nicer"), [("containment", [BEHIND]), ("keys", [])])
def test_only_a_pool_beside_an_alarm_child_stands_back(
    monkeypatch: pytest.MonkeyPatch, kind: str, nicer: list[int]
) -> None:
    nothing, told = cast("Any", None), list[int]()
    monkeypatch.setattr(os, "nice", told.append)
    Child(nothing, WorkerKind((), (), 1, lambda _: nothing, lambda _: None, alarm=KINDS[kind].alarm)).open()
    assert told == nicer
