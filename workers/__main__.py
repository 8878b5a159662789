"""`python -m workers containment | keys | schedule | backtest`: one process kind of the installation."""

import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Final

from service import log
from service.config import Settings, read_settings
from service.domain.errors import ConfigurationError
from service.flow.routes import JOBS_OF, QUEUES, jobs_of
from workers.app import make_app
from workers.process import WorkerKind, refuse, run, withdraw
from workers.reconcile import DESTRUCTION
from workers.roots import check_actions, check_all, containment_root, keys_root
from workers.schedule import REMINDERS, make_beat

JOBS: Final = frozenset(job for jobs in JOBS_OF.values() for job in jobs) | frozenset(
    [
        *REMINDERS,
        DESTRUCTION,
        jobs_of("step_ready", {"lane": "keys"})[0],
        jobs_of("step_ready", {"lane": "containment"})[0],
    ]
)
"""Every job there is."""


def _jobs_in(*queues: str) -> tuple[str, ...]:
    return tuple(sorted(job for job in JOBS if QUEUES[job.partition(".")[0]] in queues))


_CONTAINMENT_QUEUES: Final = ("containment", "alarm", "release", "flow", "delivery")
KINDS: Final[Mapping[str, WorkerKind]] = {
    "containment": WorkerKind(_CONTAINMENT_QUEUES, _jobs_in(*_CONTAINMENT_QUEUES), 3, containment_root, check_all),
    "keys": WorkerKind(("keys",), _jobs_in("keys"), 2, keys_root, check_actions),
}


def main(arguments: list[str]) -> int:
    """Run the process kind that the command line names; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in {*KINDS, "schedule", "backtest"}:
        return refuse("usage: python -m workers containment | keys | schedule | backtest")
    try:
        if arguments[0] == "backtest":
            from workers import backtest  # noqa: PLC0415  loads the compiled engine, which no other worker needs

            return backtest.run()
        settings = read_settings()
        log.configure(settings.process)
        if arguments[0] == "schedule":
            return _schedule(settings)
        return run(settings, KINDS[arguments[0]])
    except ConfigurationError as error:
        return refuse(f"{error.code}: {error}")


def _schedule(settings: Settings) -> int:
    beat = make_beat(make_app(settings.broker_url))

    def stop(_number: int, _frame: Any) -> None:
        beat.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    path = settings.home / "run" / "ready" / settings.process
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{os.getpid()}\n", encoding="ascii")
    try:
        beat.start()
    finally:
        withdraw(path)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
