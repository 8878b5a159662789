from pathlib import Path

import pytest

from rules.errors import ListFileError
from rules.lists.loader import load_list

HEAD = "# portcullis-list/v1 thieves\n"


def write(folder: Path, content: bytes) -> Path:
    path = folder / "thieves.list"
    path.write_bytes(content)
    return path


def test_reads_values_reasons_and_comments(tmp_path: Path) -> None:
    text = HEAD + "\n# seen in 2020\neip155:1:0xEB31973E0FEBF3E3D7058234A5EBBAE1AB4B8C23 # exchange theft\nbc1qExact\n"
    found = load_list(write(tmp_path, text.encode()))
    assert found.name == "thieves"
    assert found.reason("eip155:1:0xeb31973e0febf3e3d7058234a5ebbae1ab4b8c23") == "exchange theft"
    assert found.reason("bc1qExact") == ""
    assert found.reason("bc1qexact") is None


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "line 1"),
        (b"value\n", "line 1"),
        (HEAD.encode() + b"a b c\n", "line 2"),
        (HEAD.encode() + b"a\n\na\n", "line 4: a is listed twice"),
        (b"\xff\xfe", "UTF-8"),
        (HEAD.encode() + b"x" * 300, "line 2"),
    ],
)
def test_half_a_list_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    with pytest.raises(ListFileError, match=f"thieves.list: .*{says}"):
        load_list(write(tmp_path, content))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ListFileError, match="cannot be read"):
        load_list(tmp_path / "none.list")
