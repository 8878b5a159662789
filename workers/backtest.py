"""The worker of back-tests: order-free parts of a run, from a folder shared with whoever runs it.

Rules: it opens no token and no database, and its messages start nothing else; a message names a run and a part, the data
is in PORTCULLIS_BACKTEST_FOLDER. A part may be delivered twice or never. Results depend on neither worker nor order.
"""

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn

from rules.backtest.errors import BacktestError
from rules.backtest.exchange import JOB, QUEUE, work
from service import log
from service.domain.errors import ConfigurationError, InputError
from service.domain.secrets import Secret
from workers.app import make_app, make_worker
from workers.hurry import Hurry
from workers.jobs import Jobs, register

FOLDER: Final = "PORTCULLIS_BACKTEST_FOLDER"
BROKER: Final = "PORTCULLIS_REDIS_URL"


class NoDatabase:
    """Stands where other workers have theirs: a message that names an event of a database is refused."""

    def begin(self, *, on_disk: bool = True) -> NoReturn:  # noqa: ARG002  the port's word
        """Raise ConfigurationError."""
        raise ConfigurationError("a worker of back-tests has no database: this message is not for it")


class BacktestRoot:
    """The wiring of one child."""

    def __init__(self, folder: Path) -> None:
        self.db: Any = NoDatabase()
        self.hurry = Hurry()
        self.jobs: Jobs = {JOB: partial(_part, folder)}

    def close(self) -> None:
        """Nothing is held open."""


def _part(folder: Path, payload: Mapping[str, str]) -> None:
    try:
        work(folder, str(payload.get("run", "")), str(payload.get("part", "")))
    except BacktestError as error:
        raise InputError(str(error)) from error


def run(environ: Mapping[str, str] = os.environ) -> int:
    """Work until told to stop; return the exit code. Raises ConfigurationError."""
    folder, broker = Path(_needed(environ, FOLDER)), Secret(_needed(environ, BROKER))
    if not folder.is_dir():
        raise ConfigurationError(
            f"{FOLDER} names {folder}, which is no folder: make it, shared with whoever runs back-tests"
        )
    log.configure("backtest")
    app = make_app(broker, (QUEUE,))
    root = BacktestRoot(folder)
    register(app, (JOB,), lambda: root)
    worker = make_worker(app, "backtest", (QUEUE,), os.cpu_count() or 1)
    worker.start()
    return int(worker.exitcode or 0)


def _needed(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name, "")
    if not value:
        raise ConfigurationError(f"{name} is not set: see docs/guides/backtest.md")
    return value
