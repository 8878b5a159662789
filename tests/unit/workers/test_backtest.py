"""The worker of back-tests has no database, opens no token, and believes no message that names an event."""

from pathlib import Path

import pytest

from rules.backtest.exchange import JOB
from service.domain.errors import ConfigurationError, InputError
from workers.backtest import BacktestRoot, run
from workers.jobs import is_genuine
from workers.publish import Message


def test_a_message_that_names_an_event_is_not_run(tmp_path: Path) -> None:
    root = BacktestRoot(tmp_path)
    assert is_genuine(root.db, Message(JOB, {}, None, None))
    with pytest.raises(ConfigurationError, match="has no database"):
        is_genuine(root.db, Message(JOB, {}, None, 7))


def test_a_name_outside_the_folder_is_never_tried_again(tmp_path: Path) -> None:
    for payload in ({}, {"run": "../x", "part": "decode-1"}, {"run": "run-1", "part": "/etc/passwd"}):
        with pytest.raises(InputError, match="named in lower-case letters"):
            BacktestRoot(tmp_path).jobs[JOB](payload)


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    environ = {"PORTCULLIS_REDIS_URL": "redis://127.0.0.1:1/0", "PORTCULLIS_BACKTEST_FOLDER": str(tmp_path / "none")}
    with pytest.raises(ConfigurationError, match="none, which is no folder"):
        run(environ)
