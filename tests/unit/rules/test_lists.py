from pathlib import Path

import pytest

from rules.errors import ListFileError
from rules.lists.loader import MAX_FILE_BYTES, load_list

HEAD = "# portcullis-list/v1 techniques\n"


def write(folder: Path, content: bytes) -> Path:
    path = folder / "techniques.txt"
    path.write_bytes(content)
    return path


def test_reads_ids_names_and_comments(tmp_path: Path) -> None:
    text = HEAD + "\n# a comment\nattack.t1657 # Financial Theft\nattack.t9999\n"
    assert load_list(write(tmp_path, text.encode())) == {"attack.t1657": "Financial Theft", "attack.t9999": ""}


def test_a_file_beyond_the_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ListFileError, match="larger than"):
        load_list(write(tmp_path, HEAD.encode() + b"#" * MAX_FILE_BYTES))


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
    with pytest.raises(ListFileError, match=f"techniques.txt: .*{says}"):
        load_list(write(tmp_path, content))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ListFileError, match="cannot be read"):
        load_list(tmp_path / "none.list")
