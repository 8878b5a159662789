import os
from pathlib import Path

import pytest

from service.domain.errors import ConfigurationError, ConflictError, UnavailableError
from service.runtime import layout as subject
from service.runtime.layout import Layout, holder, kept_secret, layout_of, open_home, write_private


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    home = tmp_path / "home"
    return Layout(home, home, home / "run")


def test_a_fresh_home_is_closed_and_marked(layout: Layout) -> None:
    with open_home(layout):
        assert layout.version_file.read_text() == "1\n"
        assert layout.home.stat().st_mode & 0o777 == 0o711
        assert layout.public.stat().st_mode & 0o777 == 0o755
        assert (layout.home / "demo").stat().st_mode & 0o777 == 0o700


def test_a_second_up_is_refused_with_the_pid_of_the_first(layout: Layout) -> None:
    with open_home(layout):
        assert holder(layout) == os.getpid()
        with pytest.raises(ConflictError, match=rf"pid {os.getpid()}.*portcullis down"):
            open_home(layout)
    assert holder(layout) is None
    open_home(layout).close()


@pytest.mark.parametrize(("found", "advice"), [("0", "release that made it"), ("2", "newer release"), ("x", "newer")])
def test_another_layout_is_refused_and_left_alone(layout: Layout, found: str, advice: str) -> None:
    layout.home.mkdir()
    layout.version_file.write_text(found)
    with pytest.raises(ConfigurationError, match=advice):
        open_home(layout)
    assert not layout.logs.exists()
    assert holder(layout) is None


def test_data_without_a_version_is_not_taken_over(layout: Layout) -> None:
    (layout.home / "postgres").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="no layout-version file"):
        open_home(layout)


def test_a_full_disk_is_refused_before_anything_starts(layout: Layout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "LEAST_FREE_BYTES", 1 << 62)
    with pytest.raises(UnavailableError, match="free some space"):
        open_home(layout)
    assert holder(layout) is None


def test_a_squatted_folder_is_refused(layout: Layout, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    layout.home.mkdir()
    (layout.home / "run").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ConfigurationError, match="does not belong"):
        open_home(layout)


def test_sockets_of_a_deep_home_move_to_a_short_folder(tmp_path: Path) -> None:
    deep = layout_of(tmp_path / ("d" * 60) / ("e" * 60))
    assert len(os.fsencode(deep.authority_socket)) <= 107
    assert deep.sockets == layout_of(tmp_path / ("d" * 60) / ("e" * 60)).sockets
    other = layout_of(tmp_path / ("d" * 60) / ("f" * 60))
    assert deep.sockets != other.sockets


def test_a_kept_secret_is_made_once_and_private(tmp_path: Path) -> None:
    first = kept_secret(tmp_path / "secret")
    assert len(first) >= 43
    assert kept_secret(tmp_path / "secret") == first
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_private_file_replaces_an_open_one(tmp_path: Path) -> None:
    path = tmp_path / "env"
    path.touch(mode=0o644)
    write_private(path, "x")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text() == "x"
