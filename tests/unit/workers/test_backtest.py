"""The worker of back-tests has no database, opens no token, and believes no message that names an event."""

from collections.abc import Mapping
from pathlib import Path

import pytest

from rules.backtest.exchange import JOB
from service.domain.errors import ConfigurationError, InputError
from service.domain.secrets import Secret
from workers.app import make_app
from workers.backtest import BacktestRoot, run
from workers.jobs import register


def test_a_message_that_names_an_event_is_not_run(tmp_path: Path) -> None:
    ran: list[Mapping[str, str]] = []
    root, app = BacktestRoot(tmp_path), make_app(Secret("redis://127.0.0.1:1/0"))
    root.jobs = {JOB: ran.append}
    register(app, (JOB,), lambda: root)
    app.tasks[JOB].run({"part": "1"}, None, 7)
    assert ran == []
    app.tasks[JOB].run({"part": "2"})
    assert ran == [{"part": "2"}]
    with pytest.raises(ConfigurationError, match="has no database"):
        root.db.begin()


def test_a_name_outside_the_folder_is_never_tried_again(tmp_path: Path) -> None:
    for payload in ({}, {"run": "../x", "part": "decode-1"}, {"run": "run-1", "part": "/etc/passwd"}):
        with pytest.raises(InputError, match="named in lower-case letters"):
            BacktestRoot(tmp_path).jobs[JOB](payload)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    environ = {"PORTCULLIS_REDIS_URL": "redis://127.0.0.1:1/0", "PORTCULLIS_BACKTEST_FOLDER": str(tmp_path / "none")}
    with pytest.raises(ConfigurationError, match="none, which is no folder"):
        run(environ)
