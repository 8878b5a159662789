from pathlib import Path

import pytest

from rules.errors import DetectorFileError
from rules.loader import DEFAULT_DIRECTORY, MAX_FILE_BYTES, load_directory

GOOD = (DEFAULT_DIRECTORY / "drain-fan-in.yaml").read_text()


def write(folder: Path, content: str, name: str = "drain-fan-in.yaml") -> Path:
    (folder / name).write_text(content)
    return folder


def test_what_ships_loads_and_has_a_digest_of_every_byte(tmp_path: Path) -> None:
    assert len(load_directory()) >= 10
    one = load_directory(write(tmp_path, GOOD)).digest()
    assert one == load_directory(tmp_path).digest()
    assert one != load_directory(write(tmp_path, GOOD + "\n")).digest()


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("severity: critical", "severity: dreadful", "severity"),
        ("decision: hold", "decision: allow", "decision"),
        ("version: 1", "version: 0", "version"),
        ("version: 1", "verison: 1", "verison|version"),
        ("id: drain-fan-in", "id: other-name", "id"),
        ("feature: fan_in_accounts", "feature: nonsense", "guard.feature"),
        ('op: ">="', 'op: "~"', "guard.op"),
        ("fan_in_accounts >= 2.0 &&", "bogus >= 2.0 &&", "expr"),
        ("fan_in_accounts >= 2.0 &&", "fan_in_accounts >= 2 &&", "expr"),
        ("      destination_age_s: 300.0", "      destination_eon: 300.0", r"cases\[0\].features"),
        ("status: live", "status: [", "file"),
        ("playbook: drain", "playbook: dance", "playbook"),
        ("status: live", "status: !!python/object:os.system x", "file"),
    ],
)
def test_a_broken_file_is_refused_by_file_and_field(tmp_path: Path, old: str, new: str, field: str) -> None:
    assert old in GOOD
    with pytest.raises(DetectorFileError, match=f"^drain-fan-in.yaml: .*({field})"):
        load_directory(write(tmp_path, GOOD.replace(old, new, 1)))


def test_too_large_empty_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(DetectorFileError, match="holds no detector"):
        load_directory(tmp_path)
    with pytest.raises(DetectorFileError, match="larger"):
        load_directory(write(tmp_path, GOOD + "#" * MAX_FILE_BYTES))
    (tmp_path / "drain-fan-in.yaml").unlink()
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(DetectorFileError, match="cannot be read"):
        load_directory(tmp_path)
