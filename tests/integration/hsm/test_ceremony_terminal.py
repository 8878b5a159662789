"""The ceremony's commands as people see them: on a real terminal, hidden codes, shares one at a time."""

import base64
import os
import pty
import re
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pyotp
import pytest

from hsm.ceremony.offices import TokenVault, TokenWitnesses, _confirm
from hsm.power import Power
from hsm.totp import SEED_BYTES
from tests.integration.hsm.conftest import MakeToken
from tests.integration.hsm.tokens import uri_of
from tests.support.ceremony import plan_text

ROOT = Path(__file__).parents[3]
CLI = "from hsm.cli import app\nif __name__ == '__main__':\n    app(['ceremony', *__import__('sys').argv[1:]])\n"
SEEDS = {"first-officer": b"5" * SEED_BYTES, "second-officer": b"6" * SEED_BYTES}
PATIENCE_S = 150.0


def code_of(seed: bytes, periods: int = 0) -> str:
    return pyotp.TOTP(base64.b32encode(seed).decode()).at(int(time.time()) + 30 * periods)


class Terminal:
    """A process on a terminal of its own; what it shows is kept, what is typed is sent when it asks."""

    def __init__(self, file: int, process: int) -> None:
        self._file = file
        self.process = process
        self.shown = ""
        self._read = 0

    def until(self, wanted: str) -> str:
        """Wait until a text is shown; return what was shown since the last one."""
        deadline = time.monotonic() + PATIENCE_S
        while wanted not in self.shown[self._read :]:
            ready, _, _ = select.select([self._file], [], [], max(0.0, deadline - time.monotonic()))
            assert ready, f"{wanted!r} was never shown after: {self.shown[self._read :]!r}"
            try:
                self.shown += os.read(self._file, 65536).decode()
            except OSError:
                raise AssertionError(f"it ended before {wanted!r}: {self.shown[self._read :]!r}") from None
        place = self.shown.index(wanted, self._read) + len(wanted)
        said, self._read = self.shown[self._read : place], place
        return said

    def asked(self, wanted: str) -> str:
        """Wait until a hidden question is asked to its end: what is typed earlier is thrown away (TCSAFLUSH)."""
        return self.until(wanted) + self.until(": ")

    def type(self, text: str) -> None:
        os.write(self._file, text.encode() + b"\n")

    def end(self) -> int:
        while True:
            try:
                if not (more := os.read(self._file, 65536)):
                    break
            except OSError:
                break
            self.shown += more.decode()
        _, status = os.waitpid(self.process, 0)
        self.process = 0
        return os.waitstatus_to_exitcode(status)


@contextmanager
def terminal(program: Path, *arguments: str) -> Iterator[Terminal]:
    process, file = pty.fork()
    if process == 0:  # pragma: no cover  the child
        os.chdir(ROOT)
        os.execv(sys.executable, [sys.executable, str(program), *arguments])  # noqa: S606  our own interpreter
    found = Terminal(file, process)
    try:
        yield found
    finally:
        if found.process:
            os.kill(found.process, signal.SIGKILL)
            os.waitpid(found.process, 0)
        os.close(file)


@pytest.fixture
def program(tmp_path: Path, make_token: MakeToken, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("PORTCULLIS_VAULT_URI", uri_of(make_token(Power.VAULT, f"vault-{tmp_path.name[-20:]}")))
    monkeypatch.setenv("PORTCULLIS_AUTHORITY_URI", uri_of(make_token(Power.AUTHORITY, f"auth-{tmp_path.name[-20:]}")))
    file = tmp_path / "ceremony_cli.py"
    file.write_text(CLI)
    return file


def test_a_witness_enrols_at_the_screen(program: Path, tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    with terminal(program, "witness", "clerk", "--home", home) as screen:
        uri = re.search(r"secret=([A-Z2-7]+)", screen.asked("First code of clerk").replace("\r\n", ""))
        assert uri is not None
        screen.type(pyotp.TOTP(uri[1]).now())
        screen.until("clerk is enrolled")
        assert screen.end() == 0
    with terminal(program, "witness", "clerk", "--home", home) as screen:
        screen.until("enrolled already")
        assert screen.end() == 1


def test_shares_are_shown_one_at_a_time_and_typed_back(program: Path, tmp_path: Path) -> None:
    witnesses = TokenWitnesses(os.environ["PORTCULLIS_AUTHORITY_URI"])
    for name, seed in SEEDS.items():
        before = time.time() - 3600
        witnesses.begin(name, seed)
        witnesses._ask(
            _confirm, witnesses._uri, name, pyotp.TOTP(base64.b32encode(seed).decode()).at(int(before)), before
        )
    witnesses.close()
    file = tmp_path / "plan.yaml"
    file.write_text(plan_text())
    shares: list[str] = []
    with terminal(program, "run", str(file), "--home", str(tmp_path / "home")) as screen:
        for name, seed in SEEDS.items():
            screen.asked(f"Code of {name} to open")
            screen.type(code_of(seed))
        for number in (1, 2, 3):
            screen.until(f"Share {number} of 3")
            screen.type("")
            words = re.findall(r"^ *(\d+) ([a-z]+)\r?$", screen.until("Written down?"), re.MULTILINE)
            assert [int(place) for place, _ in words] == list(range(1, 34))
            shares.append(" ".join(word for _, word in words))
            screen.type("")
        for holder, text in ((1, shares[2]), (2, shares[0])):
            screen.asked(f"your share, holder {holder}")
            screen.type(text)
        for name, seed in SEEDS.items():
            screen.asked(f"Code of {name} to close")
            screen.type(code_of(seed, 1))
        screen.until("signed by")
        assert screen.end() == 0
        assert screen.shown.count("\x1b[2J") >= 3, "the screen is cleared after each share"
        assert not any(code_of(seed, 1) in screen.shown for seed in SEEDS.values()), "codes are typed unseen"
    written = b"".join(path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()).decode()
    assert '\\"share_set\\"' in written
    assert not any(" ".join(share.split()[4:7]) in written for share in shares)
    vault = TokenVault(os.environ["PORTCULLIS_VAULT_URI"])
    assert vault.kept("treasury") is not None
    vault.close()
