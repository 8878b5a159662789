"""`python -m workers containment | keys | schedule | backtest`: one process kind of the installation.

Each kind imports only what it needs: the schedule holds half the memory of a worker, and starts in half the time.
"""

import signal
import sys
from typing import Any, Final

from service import log
from service.config import Settings, read_settings
from service.domain.errors import ConfigurationError
from workers import ready
from workers.app import make_app
from workers.schedule import make_beat

ALARM_ARGUMENTS: Final = 3


def main(arguments: list[str]) -> int:
    """Run the process kind that the command line names; return the exit code."""
    if len(arguments) == ALARM_ARGUMENTS and arguments[0] == "alarm" and all(map(str.isdigit, arguments[1:])):
        return _alarm(int(arguments[1]), int(arguments[2]))
    if len(arguments) != 1 or arguments[0] not in {"containment", "keys", "schedule", "backtest"}:
        return _refuse("usage: python -m workers containment | keys | schedule | backtest")
    try:
        if arguments[0] == "backtest":
            from workers import backtest  # noqa: PLC0415  loads the compiled engine, which no other worker needs

            return backtest.run()
        settings = read_settings()
        log.configure(settings.process)
        if arguments[0] == "schedule":
            return _schedule(settings)
        from workers import kinds, process  # noqa: PLC0415  the database and all that a step may call

        return process.run(settings, kinds.KINDS[arguments[0]])
    except ConfigurationError as error:
        return _refuse(f"{error.code}: {error}")


def _alarm(ready_to: int, worker: int) -> int:
    """Run the child that a containment worker starts for itself (`tending.py`)."""
    from workers.alarm import Alarm  # noqa: PLC0415  what a step may call, which the schedule needs not
    from workers.roots import containment_root  # noqa: PLC0415  as above

    settings = read_settings()
    log.configure(settings.process)
    return Alarm(settings, containment_root, ready_to, worker).run()


def _schedule(settings: Settings) -> int:
    beat = make_beat(make_app(settings.broker_url))

    def stop(_number: int, _frame: Any) -> None:
        beat.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    ready.announce(settings)
    try:
        beat.start()
    finally:
        ready.withdraw(settings)
    return 0


def _refuse(message: str) -> int:
    """Print why the process cannot start; return its exit code."""
    print(message, file=sys.stderr)  # noqa: T201  a process that cannot start tells whoever started it
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
