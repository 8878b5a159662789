import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from service.domain.errors import UnavailableError
from service.runtime import supervisor as subject
from service.runtime.errors import StoppedEarlyError
from service.runtime.layout import Layout
from service.runtime.parts import Part
from service.runtime.supervisor import MOST_RESTARTS, PartState, Supervisor, Watch


@dataclass
class FakePart:
    name: str
    calls: list[str]
    pid: int | None = None
    returncode: int | None = None
    fails: bool = False
    address: str = "nowhere"
    log: Path = Path("/nonexistent/log")
    starts: int = field(default=0)
    told: int = 0

    def start(self) -> None:
        self.starts += 1
        self.pid = 1000 + self.starts
        self.returncode = None
        self.calls.append(f"start {self.name}")

    def ready(self) -> bool:
        if self.fails:
            raise UnavailableError(f"{self.name} ended")
        return True

    def tell_to_stop(self) -> None:
        self.told += 1

    def stop(self) -> None:
        self.calls.append(f"stop {self.name}")
        self.pid = None


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    (tmp_path / "run").mkdir()
    return Layout(tmp_path, tmp_path, tmp_path / "run")


def supervisor_of(layout: Layout, *parts: FakePart) -> tuple[Supervisor, list[str]]:
    said: list[str] = []
    members: list[Part] = list(parts)
    return Supervisor(layout, members, said.append), said


def test_parts_start_in_order_and_stop_in_reverse(layout: Layout) -> None:
    calls: list[str] = []
    supervisor, said = supervisor_of(layout, FakePart("a", calls), FakePart("b", calls))
    supervisor.start()
    assert json.loads(layout.state_file.read_text())["parts"][1]["state"] == "ready"
    supervisor.tell_to_stop()
    supervisor.run()
    assert calls == ["start a", "start b", "stop b", "stop a"]
    assert [line.split()[0] for line in said] == ["a", "b"]
    assert not layout.state_file.exists()


def test_nobody_is_told_to_stop_before_the_last_has_ended_and_then_everybody_is(layout: Layout) -> None:
    calls: list[str] = []
    told: list[tuple[str, int, int]] = []

    class Noting(FakePart):
        def stop(self) -> None:
            told.append((self.name, first.told, second.told))
            super().stop()

    first, second, last = (Noting(name, calls) for name in ("first", "second", "last"))
    supervisor, _ = supervisor_of(layout, first, second, last)
    supervisor.start()
    supervisor.stop()
    assert told == [("last", 0, 0), ("second", 1, 1), ("first", 2, 1)]


def test_a_part_that_runs_already_is_not_started_again(layout: Layout) -> None:
    calls: list[str] = []
    supervisor, _ = supervisor_of(layout, FakePart("server", calls, pid=7))
    supervisor.start()
    assert calls == []


def test_a_part_that_never_gets_ready_fails_the_start_and_stops_the_rest(layout: Layout) -> None:
    calls: list[str] = []
    supervisor, _ = supervisor_of(layout, FakePart("a", calls), FakePart("b", calls, fails=True))
    with pytest.raises(UnavailableError, match="b ended"):
        supervisor.start()
    assert calls[-2:] == ["stop b", "stop a"]


def test_a_stop_during_the_start_is_not_taken_for_success(layout: Layout) -> None:
    calls: list[str] = []
    supervisor, said = supervisor_of(layout, FakePart("a", calls))
    supervisor.tell_to_stop()
    with pytest.raises(StoppedEarlyError):
        supervisor.start()
    assert calls == ["start a", "stop a"]
    assert said == []


def test_a_crashed_part_is_started_again_and_counted(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "FIRST_PAUSE_S", 0.0)
    part = FakePart("a", [])
    supervisor, said = supervisor_of(layout, part)
    supervisor.start()
    part.returncode = -9
    for _ in range(3):
        supervisor._look_once()
    assert part.starts == 2
    state = json.loads(layout.state_file.read_text())["parts"][0]
    assert (state["state"], state["restarts"], state["pid"]) == ("ready", 1, 1002)
    assert any("ended with code -9" in line for line in said)


def test_a_part_that_keeps_crashing_stops_everything(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(subject, "POLL_S", 0.0)
    calls: list[str] = []

    class Crashing(FakePart):
        def start(self) -> None:
            super().start()
            self.returncode = 1 if self.starts > 1 else None

    part = Crashing("a", calls)
    supervisor, _ = supervisor_of(layout, FakePart("other", calls), part)
    supervisor.start()
    part.returncode = 1
    with pytest.raises(UnavailableError, match=r"a ended with code 1, more than 5 times.*portcullis doctor"):
        supervisor.run()
    assert part.starts == MOST_RESTARTS + 1
    assert calls[-2:] == ["stop a", "stop other"]


def test_pauses_grow_and_old_crashes_are_forgotten() -> None:
    watch = Watch(FakePart("a", []))
    pauses = []
    for _ in range(MOST_RESTARTS):
        assert watch.note_end(100.0)
        pauses.append(watch.again_at - 100.0)
    assert pauses == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert watch.note_end(161.0)
    assert watch.state is PartState.RESTARTING
    assert [watch.note_end(161.0) for _ in range(MOST_RESTARTS)][-1] is False
