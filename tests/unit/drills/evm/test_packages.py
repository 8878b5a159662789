"""Where a drill's chain comes from, and what is said when it cannot."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from drills.evm import packages
from drills.evm.errors import PackageError


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv(packages.ANVIL_VARIABLE, raising=False)
    return tmp_path


def test_without_npm_the_command_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: None)
    with pytest.raises(PackageError, match="apt-get install nodejs npm"):
        packages.fetch(lambda _: None)


def test_what_was_fetched_half_is_not_taken_for_whole(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda _: "npm")
    failed = subprocess.CompletedProcess([], 1, stdout="", stderr="npm error\nnetwork is down")
    monkeypatch.setattr("subprocess.run", lambda *_, **__: failed)
    with pytest.raises(PackageError, match="network is down"):
        packages.fetch(lambda _: None)
    assert not packages.folder().exists()
    assert list((cache / "portcullis").iterdir()) == []


def test_it_is_fetched_by_the_lock_file_without_scripts_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        prefix = Path(command[command.index("--prefix") + 1])
        assert {path.name for path in prefix.iterdir()} == set(packages.FILES)
        seen.append(command)
        return subprocess.CompletedProcess([], 0, stdout="", stderr="")

    monkeypatch.setattr("shutil.which", lambda _: "npm")
    monkeypatch.setattr("subprocess.run", run)
    for _ in range(2):
        packages.fetch(lambda _: None)
    assert [command[1] for command in seen] == ["ci"]
    assert "--ignore-scripts" in seen[0]


def test_a_missing_program_and_contract_name_the_command() -> None:
    with pytest.raises(PackageError, match=packages.INSTALL):
        packages.anvil()
    with pytest.raises(PackageError, match=packages.INSTALL):
        packages.safe_artifact("Safe.sol/Safe.json")


def test_a_program_of_one_s_own_is_used_when_it_can_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "anvil"
    monkeypatch.setenv(packages.ANVIL_VARIABLE, str(program))
    with pytest.raises(PackageError, match="is no program"):
        packages.anvil()
    program.touch(0o700)
    assert packages.anvil() == program


def test_the_lock_file_names_hashes_and_no_host() -> None:
    lock = (packages.LOCKED / "package-lock.json").read_text()
    assert lock.count('"integrity": "sha512-') == 2
    assert "://" not in lock
