"""A process that is told to stop is told once, and may be started again."""

from pathlib import Path

from service.runtime.accounts import myself
from service.runtime.parts import ProcessPart, ProcessPlan

PROGRAM = """
import os, signal, sys, time
told = []
def note(number, frame):
    told.append(number)
signal.signal(signal.SIGTERM, note)
open(sys.argv[1], "w").write(str(os.getpid()))
while not told:
    time.sleep(0.01)
time.sleep(0.2)
open(sys.argv[2], "w").write(str(len(told)))
"""


def part_of(folder: Path) -> ProcessPart:
    (folder / "program.py").write_text(PROGRAM)
    return ProcessPart(
        ProcessPlan(
            name="it",
            address="nowhere",
            arguments=(str(folder / "program.py"), str(folder / "ready"), str(folder / "signals")),
            account=myself(),
            environment={},
            folder=folder,
            log=folder / "log",
            ready_file=folder / "ready",
            stop_timeout_s=120.0,
        )
    )


def test_it_is_told_once_however_often_it_is_asked(tmp_path: Path) -> None:
    part = part_of(tmp_path)
    part.tell_to_stop()
    for _ in range(2):
        (tmp_path / "signals").unlink(missing_ok=True)
        part.start()
        while not part.ready():
            assert part.returncode is None, (tmp_path / "log").read_text()
        part.tell_to_stop()
        part.tell_to_stop()
        part.stop()
        assert (tmp_path / "signals").read_text() == "1"
        part.stop()
