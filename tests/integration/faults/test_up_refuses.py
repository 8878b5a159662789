"""`portcullis up` with something wrong that only a whole start can notice: a message that says what, and nothing stays."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from service.runtime.accounts import myself
from tests.support.servers import short_folder
from tests.support.stack import portcullis

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    """A home of the module's own: what one start made ready, the next has."""
    with short_folder(myself()) as folder:
        folder.chmod(0o711)
        yield folder / "home"


def left_over(home: Path) -> list[str]:
    """Processes that still run with this home among their arguments or settings, after a moment to end."""
    end = time.monotonic() + 60
    while True:
        found = [p.info["name"] for p in psutil.process_iter(["name", "cmdline"]) if _is_of(p, home)]
        if not found or time.monotonic() > end:
            return found
        time.sleep(0.1)


def _is_of(process: psutil.Process, home: Path) -> bool:
    return process.pid != os.getpid() and any(str(home) in one for one in process.info["cmdline"] or ())


@pytest.fixture
def mine(home: Path, request: pytest.FixtureRequest) -> Path:
    """A folder that every process user can read, beside the installation."""
    folder = home.parent / str(request.node.name)
    folder.mkdir(mode=0o755)
    folder.chmod(0o755)
    return folder


def test_a_playbook_that_names_an_unknown_action(home: Path, mine: Path) -> None:
    wrong = mine / "drain.yaml"
    wrong.write_text(
        "playbook: drain\nversion: 1\nincident: drain\ntitle: Wrong\nkeys: untouched\n"
        "steps:\n  - {action: pray, targets: accounts}\n"
    )
    done = portcullis(home, "up", "--port", "0", PORTCULLIS_PLAYBOOKS=str(mine))
    assert done.returncode != 0
    assert str(wrong) in done.stderr
    assert "pray" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_over(home) == []


def test_a_detector_that_cannot_be_read(home: Path, mine: Path) -> None:
    wrong = mine / "mine.yaml"
    wrong.write_text("id: mine\nversion: one\n")
    done = portcullis(home, "up", "--port", "0", PORTCULLIS_DETECTORS=str(mine))
    assert done.returncode != 0
    assert "mine.yaml" in done.stderr
    assert "Traceback" not in done.stderr
    assert left_over(home) == []
