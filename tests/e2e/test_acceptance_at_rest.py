"""An installation at rest: how much memory it takes, that a folder has one `up`, and that nothing stays when it ends."""

import psutil
import pytest

from drills.runner.processes import Installation
from service.runtime.accounts import myself
from service.runtime.memory import API_LIMIT_MB, TOTAL_LIMIT_MB
from tests.support.servers import short_folder
from tests.support.stack import portcullis, status

pytestmark = [pytest.mark.servers, pytest.mark.timeout(600)]


def test_at_rest_the_stack_is_small_alone_and_gone_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COVERAGE_PROCESS_START", raising=False)  # what measures would be measured
    with short_folder(myself()) as folder:
        folder.chmod(0o711)
        home = folder / "home"
        installation = Installation(home, {}, print)
        with installation.program as program:
            installation.wait()
            children = [*psutil.Process(program.pid).children(recursive=True)]
            told = status(home)
            parts = {part["name"]: part["pss_mb"] for part in told["parts"]}
            assert all(part["pss_mb"] is not None for part in told["parts"]), "every process could be measured"
            assert parts["api"] < API_LIMIT_MB, parts
            assert sum(parts.values()) == pytest.approx(told["total_pss_mb"], abs=1)
            assert told["total_pss_mb"] < TOTAL_LIMIT_MB, parts

            second = portcullis(home, "up", "--port", "0")
            assert second.returncode == 75
            assert f"pid {program.pid}" in second.stderr
            assert portcullis(home, "down").returncode == 0
        assert [child for child in children if child.is_running()] == []
        assert portcullis(home, "status").returncode == 3
