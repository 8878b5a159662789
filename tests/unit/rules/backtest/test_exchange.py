"""Parts travel through a folder: whole, repeatable, confined, and only between equal versions."""

from pathlib import Path

import msgspec
import pytest

from rules.backtest import exchange
from rules.backtest.errors import BacktestError, EventsFileError
from rules.backtest.exchange import name_of, put, refusal, run_folder, take, work
from rules.backtest.parallel import Here, Part, Pending
from rules.backtest.parts import run_part
from tests.unit.rules.backtest.recorded import payments, run


class Shared:
    """Hands that work through the folder, each part twice, as a broker may deliver it."""

    width = 3

    def __init__(self, folder: Path, place: Path) -> None:
        self._folder = folder
        self._place = place

    def submit(self, part: Part) -> Pending:
        put(self._place, part)
        return _Taken(self._folder, self._place, part)


class _Taken:
    def __init__(self, folder: Path, place: Path, part: Part) -> None:
        self._folder, self._place, self._part = folder, place, part

    def result(self) -> bytes:
        assert take(self._place, self._part) is None
        assert work(self._folder, self._place.name, name_of(self._part))
        assert work(self._folder, self._place.name, name_of(self._part))
        found = take(self._place, self._part)
        assert found is not None
        assert not work(self._folder, self._place.name, name_of(self._part)), "nobody wants it any more"
        return found


def test_a_run_through_a_folder_writes_the_same_bytes(tmp_path: Path) -> None:
    for name in ("here", "there", "folder"):
        (tmp_path / name).mkdir()
    rows = payments(200)
    expected = run(tmp_path / "here", rows, workers=Here())[0].read_bytes()
    with run_folder(tmp_path / "folder", "run-1") as place:
        found = run(tmp_path / "there", rows, workers=Shared(tmp_path / "folder", place))[0].read_bytes()
        assert list(place.iterdir()) == []
    assert found == expected
    assert list((tmp_path / "folder").iterdir()) == []


def test_a_wrong_value_is_named_whoever_found_it(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    rows = payments(20)
    rows[4]["amount_usd"] = -5.0
    with (
        run_folder(tmp_path / "folder", "run-1") as place,
        pytest.raises(EventsFileError, match=r"events.parquet, column amount_usd, row 5"),
    ):
        run(tmp_path, rows, workers=Shared(tmp_path / "folder", place))
    assert not (tmp_path / "scores.parquet").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../etc", "a/b", "run\0", "RUN", "x" * 65, "-x"])
def test_a_name_reaches_no_other_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "run-1").mkdir()
    for run_name, part in ((name, "decode-00000000"), ("run-1", name)):
        with pytest.raises(BacktestError, match="named in lower-case letters"):
            work(tmp_path, run_name, part)


def test_another_version_refuses_instead_of_answering(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    part = Part("decode", 0, b"{}", b"")
    with run_folder(tmp_path, "run-1") as place:
        put(place, part)
        monkeypatch.setattr(exchange, "version", lambda: "another")
        with pytest.raises(BacktestError, match="this worker another: run the same on both"):
            work(tmp_path, "run-1", name_of(part))
        assert take(place, part) is None
        assert "run the same on both" in str(refusal(place)), "whoever waits can say why nobody answers"


def test_a_part_that_is_not_ours_is_refused(tmp_path: Path) -> None:
    with run_folder(tmp_path, "run-1") as place:
        (place / "decode-00000000.in").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
        with pytest.raises(BacktestError, match="is not a part of a back-test"):
            work(tmp_path, "run-1", "decode-00000000")
    with pytest.raises(BacktestError, match="there is no part 'eval'"):
        run_part("eval", msgspec.json.encode({}), b"")


def test_a_message_for_a_run_that_is_over_does_nothing(tmp_path: Path) -> None:
    assert not work(tmp_path, "run-9", "decode-00000000")
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_run_goes_when_it_fails_and_a_missing_one_is_named(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), run_folder(tmp_path, "run-1"):
        _ = 1 / 0
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(BacktestError, match="name a folder that the workers share"), run_folder(tmp_path / "x", "r"):
        raise AssertionError
