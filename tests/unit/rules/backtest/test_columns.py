"""Every value that cannot be used is refused by file, column and row, and says what to do."""

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rules.backtest.errors import EventsFileError
from rules.backtest.schema import EVENTS, TYPES
from service.domain.activity import KINDS
from tests.unit.rules.backtest.real import backtest, mixed
from tests.unit.rules.backtest.recorded import Row, moment, payments, run, scores_of, write

TEXT = st.text(st.characters(codec="utf-8"), max_size=220)
CELLS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**30), 10**30),
    st.floats(),
    TEXT,
    st.sampled_from(
        [-1.0, 1e300, "NaN", "inf", "1e400", "x" * 2**17, "a\0b", "1969-12-31T23:59:59Z", moment(60 * 86_400)]
    ),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(TEXT, st.none(), max_size=2),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(suffix=st.sampled_from([".ndjson", ".csv"]), column=st.sampled_from(EVENTS), cell=CELLS)
def test_any_cell_is_scored_or_refused_by_its_column_and_row(
    tmp_path_factory: pytest.TempPathFactory, suffix: str, column: str, cell: object
) -> None:
    folder, rows = tmp_path_factory.mktemp("cell"), mixed(5)
    rows[2] = {**rows[2], column: cell}
    refused: EventsFileError | None = None
    try:
        scores = scores_of(backtest(folder, rows, suffix=suffix))
    except EventsFileError as error:
        refused = error
    if refused is None:
        assert len(scores) == 5
        assert all(math.isfinite(float(str(score))) and 0.0 < float(str(p)) <= 1.0 for _, score, p, *_ in scores)
    else:
        no_json = suffix == ".ndjson" and isinstance(cell, float) and not math.isfinite(cell)
        assert refused.column == (None if no_json else column), refused
        assert refused.row == 3 or (refused.row == 4 and "is before the row above it" in refused.problem), refused
        assert len(str(refused)) < 1000, "a refusal does not echo a file"
        assert list(folder.iterdir()) == [folder / f"events{suffix}"], "nothing is left behind"


def test_the_types_of_a_file_are_those_of_the_wire() -> None:
    assert KINDS == TYPES


@pytest.mark.parametrize("suffix", [".parquet", ".ndjson", ".csv"])
@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"occurred_at": None}, "column occurred_at, row 3: None is missing"),
        ({"event_id": None}, "column event_id, row 3: is missing"),
        ({"event_id": "e1"}, "column event_id, row 3: 'e1' stands in the file before"),
        ({"occurred_at": moment(0)}, "column occurred_at, row 3: is before the row above it: sort the file"),
        ({"occurred_at": "yesterday"}, "column occurred_at, row 3: 'yesterday' is no time such as"),
        (
            {"occurred_at": "2024-03-02000:00:00.0"},
            "column occurred_at, row 3: '2024-03-02000:00:00.0' is no time such as",
        ),
        ({"occurred_at": "2024-W10-1"}, "column occurred_at, row 3: '2024-W10-1' is no time such as"),
        ({"occurred_at": "1969-12-31T23:59:59Z"}, "column occurred_at, row 3"),
        ({"occurred_at": "2200-01-01T00:00:00Z"}, "between the years 1970 and 2100"),
        ({"amount_usd": -1.0}, "column amount_usd, row 3: -1.0 must be a finite number, zero or more"),
        ({"account": "x" * 201}, "column account, row 3: 'xxx"),
        ({"account": "a\0b"}, "column account, row 3: 'a\\x00b' holds a NUL character"),
        ({"type": "withdrawl.requested"}, "column type, row 3: 'withdrawl.requested' is not one of access.api_key"),
        ({"asn": "sixty"}, "column asn, row 3: 'sixty' is no number of an autonomous system"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(tmp_path: Path, suffix: str, changes: Row, says: str) -> None:
    rows = payments(5)
    rows[2] = {**rows[2], **changes}
    with pytest.raises(EventsFileError) as caught:
        run(tmp_path, rows, suffixes=(suffix, ".parquet"))
    assert says in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / f"events{suffix}"))
    assert list(tmp_path.iterdir()) == [tmp_path / f"events{suffix}"], "nothing is left behind"


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("{", "row 3: is not JSON"),
        ("[]", "row 3: must be a JSON object"),
        ('{"event_id": {}, "occurred_at": "2024-03-02T00:00:00Z"}', "column event_id, row 3"),
        ('{"event_id": "x", "occurred_at": "2024-03-02T00:00:00Z", "amount_usd": "a lot"}', "'a lot' is no number"),
        ('{"event_id": "x", "occurred_at": "2024-03-02T00:00:00Z", "amount_usd": true}', "column amount_usd, row 3"),
        ('{"event_id": "x", "occurred_at": "2024-03-02T00:00:00Z", "account": 1.5}', "neither text nor a whole number"),
        ('{"event_id": "x", "occurred_at": 1700000000}', "column occurred_at"),
        ("[" * 100_000, "row 3: is not JSON"),
        ('{"event_id": "x", "account": "' + "y" * 2_000_000 + '"}', "row 3: the line is longer than 1,048,576 bytes"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, line: str, says: str) -> None:
    path = tmp_path / "events.ndjson"
    path.write_text("\n".join([*(json.dumps(row) for row in payments(2)), "", line]), encoding="utf-8")
    with pytest.raises(EventsFileError, match=r"row 3|occurred_at|whole number") as caught:
        _run_file(path)
    assert says in str(caught.value)


def test_a_missing_column_is_named_with_those_that_are_there(tmp_path: Path) -> None:
    path = write(tmp_path / "events.csv", [{"id": "1", "occurred_at": moment(0)}])
    with pytest.raises(EventsFileError, match="has no column event_id; it has id, occurred_at: rename"):
        _run_file(path)


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("events.parquet", b"PAR1 not really", "cannot be read as parquet"),
        ("events.csv", b"event_id,occurred_at\n1,2,3\n", "cannot be read as csv"),
        ("events.csv", b"event_id,occurred_at\n\xff\xfe,2024-03-01\n", "is not UTF-8 text: save it as UTF-8"),
        ("events.csv", b"event_id,event_id,occurred_at\n1,2,2024-03-01\n", "has the column event_id more than once"),
        ("events.txt", b"", "its suffix must be one of .parquet"),
    ],
)
def test_a_file_that_is_something_else_is_refused(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(EventsFileError) as caught:
        _run_file(path)
    assert says in str(caught.value)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EventsFileError, match="cannot be read: No such file or directory"):
        _run_file(tmp_path / "events.parquet")


@pytest.mark.parametrize("suffix", [".parquet", ".ndjson", ".csv"])
def test_no_rows_give_no_scores(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"events{suffix}"
    if suffix == ".parquet":
        pq.write_table(
            pa.table({"event_id": pa.array([], pa.string()), "occurred_at": pa.array([], pa.string())}), path
        )
    else:
        path.write_text("event_id,occurred_at\n" if suffix == ".csv" else "", encoding="utf-8")
    assert scores_of(_run_file(path)) == []


def test_integers_and_texts_are_the_same_ids_and_dataframes_floats_are_integers(tmp_path: Path) -> None:
    rows = payments(40)
    as_text = [{**row, "account": str(number % 7)} for number, row in enumerate(rows)]
    (tmp_path / "text").mkdir()
    expected = scores_of(run(tmp_path / "text", as_text)[0])
    for kind in (pa.int32(), pa.int64(), pa.float64()):
        table = pa.Table.from_pylist(as_text)
        accounts = pa.array([number % 7 for number in range(40)], kind)
        table = table.set_column(table.schema.get_field_index("account"), "account", accounts)
        pq.write_table(table, tmp_path / "events.parquet")
        assert scores_of(_run_file(tmp_path / "events.parquet")) == expected


def test_all_kinds_of_timestamps_are_one_time(tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    rows = payments(30)
    expected = scores_of(run(tmp_path / "text", rows)[0])
    moments = pa.array([np.datetime64(str(row["occurred_at"]).removesuffix("Z")) for row in rows])
    for kind in (pa.timestamp("s"), pa.timestamp("ms"), pa.timestamp("ns"), pa.timestamp("us", "Asia/Singapore")):
        table = pa.Table.from_pylist(rows)
        table = table.set_column(table.schema.get_field_index("occurred_at"), "occurred_at", moments.cast(kind))
        pq.write_table(table, tmp_path / "events.parquet")
        assert scores_of(_run_file(tmp_path / "events.parquet")) == expected


def test_absent_and_empty_mean_not_told(tmp_path: Path) -> None:
    rows = payments(20)
    absent = [{name: value for name, value in row.items() if name != "destination"} for row in rows]
    empty = [{**row, "destination": "", "actor": None} for row in rows]
    results = []
    for name, told in (("absent", absent), ("empty", empty)):
        (tmp_path / name).mkdir()
        results.append(scores_of(run(tmp_path / name, told)[0]))
    assert results[0] == results[1]


def test_columns_that_are_not_used_are_listed(tmp_path: Path) -> None:
    _, findings = run(tmp_path, [{**row, "amount": 5} for row in payments(3)])
    assert findings.ignored == ("amount",)


@pytest.mark.parametrize("suffix", [".parquet", ".ndjson"])
def test_ids_keep_their_type(tmp_path: Path, suffix: str) -> None:
    rows: list[Row] = [{**row, "event_id": number} for number, row in enumerate(payments(5))]
    assert [row[0] for row in scores_of(run(tmp_path, rows, suffixes=(suffix, ".parquet"))[0])] == [0, 1, 2, 3, 4]


def test_ids_of_two_types_in_one_file_are_refused(tmp_path: Path) -> None:
    rows: list[Row] = [{**row, "event_id": number} for number, row in enumerate(payments(5))]
    rows[3]["event_id"] = "three"
    with pytest.raises(EventsFileError, match=r"row 4: 'three' is no integer as the first row's is"):
        run(tmp_path, rows, suffixes=(".ndjson", ".parquet"))


def _run_file(path: Path) -> Path:
    from rules.backtest.parallel import Here  # noqa: PLC0415  only this helper needs the parts of a run
    from rules.backtest.runner import Backtest, Request  # noqa: PLC0415  as above
    from rules.settings import EngineSettings  # noqa: PLC0415  as above
    from tests.unit.rules.backtest.recorded import NO_RULES, Simple  # noqa: PLC0415  as above

    request = Request(path, path.with_name("scores.parquet"), EngineSettings(), NO_RULES)
    Backtest(request, Simple, Here(), lambda _: None).run()
    return request.scores
