"""A broken detector file is refused by file and field, and says what to do; the set in force never meets half a set."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rules.declaration import Status
from rules.errors import DetectorFileError
from rules.event import KINDS
from rules.loader import MAX_FILE_BYTES, load_directory, parse, survey
from tests.unit.rules.sample import SAMPLE

EXCEPTION = """exceptions:
  - entity: account:main/hot-1
    owner: ada
    reason: weekly payout to one exchange
    expires: 2027-01-31T00:00:00Z
"""


def write(folder: Path, content: str, name: str = "drain-fan-in.yaml") -> Path:
    (folder / name).write_text(content)
    return folder


def test_what_ships_loads_and_has_a_digest_of_every_byte(tmp_path: Path) -> None:
    assert sum(detector.declaration.status is Status.LIVE for detector in load_directory()) >= 35
    one = load_directory(write(tmp_path, SAMPLE)).digest()
    assert one == load_directory(tmp_path).digest()
    assert one != load_directory(write(tmp_path, SAMPLE + "\n")).digest()


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("severity: critical", "severity: dreadful", "severity: .*one of low, medium, high, critical"),
        ("decision: hold", "decision: allow", "decision: .*alert or hold"),
        ("version: 1", "version: 0", "version: "),
        ("version: 1", "verison: 1", "verison|version"),
        ("id: drain-fan-in", "id: other-name", "id: 'other-name' must equal the file name"),
        ("id: drain-fan-in", "id: Drain Fan In", "id: .*lower-case"),
        ("feature: fan_in_accounts", "feature: nonsense", "guard.feature: 'nonsense' is not a declared feature"),
        ('op: ">="', 'op: "~"', "guard.op: .*in quotes"),
        ("number: 2.0", "number: .nan", "guard.number: .*NaN passes no guard"),
        ("number: 2.0", "number: -.inf", "guard.number: .*finite"),
        ("number: 2.0", "number: two", "guard.number: "),
        ("fan_in_accounts >= 2.0 &&", "bogus >= 2.0 &&", "expr: .*bogus"),
        ("fan_in_accounts >= 2.0 &&", "fan_in_accounts >= 2 &&", "expr: "),
        ("fan_in_accounts >= 2.0 &&", "fan_in_accounts >= 2.0 && &&", "expr: "),
        ("      destination_age_s: 300.0", "      destination_eon: 300.0", r"cases\[0\].features: 'destination_eon'"),
        (
            "      destination_age_s: 300.0",
            "      destination_age_s: .nan",
            r"cases\[0\].features: .*leave a feature out",
        ),
        ("status: live", "status: [", "file: is not plain YAML"),
        ("status: live", "status: alive", "status: .*one of draft, shadow, canary, live, retired"),
        ("status: live", "status: canary", "canary: is missing; expected a whole number of per cent"),
        ("status: live", "status: live\ncanary: 25", "canary: is told with status live"),
        ("status: live", "status: canary\ncanary: 100", "canary: "),
        ("status: live", "status: !!python/object:os.system x", "file: is not plain YAML"),
        ("status: live", "status:\tlive\n\tx: y", "file: is not plain YAML"),
        ("status: live", "status: live\nstatus: draft", "file: .*'status' stands twice"),
        ("title: ", "title: &name ", "file: .*anchors are not allowed"),
        ("playbook: drain", "playbook: dance", "playbook: .*one of drain"),
        ("runbook: docs/runbooks/detector/drain-fan-in.md", "runbook: /etc/passwd", "runbook: .*docs/runbooks"),
        ('kinds: ["withdrawal.*"', 'kinds: ["withdrawl.*"', r"kinds\[0\]: 'withdrawl.\*' covers no kind of activity"),
        ('kinds: ["withdrawal.*"', 'kinds: ["*"', r"kinds\[0\]: "),
        ("title: ", "titel: ", "titel|title"),
        ("tags: [", "tags: [Not A Tag, ", r"tags\[0\]: .*technique ids"),
        ("cases:", EXCEPTION.replace("account:main/hot-1", "account:main/*") + "cases:", "entity: .*without"),
        ("cases:", EXCEPTION.replace("account:main/hot-1", "wallet:7") + "cases:", "entity: .*account:ID"),
        (
            "cases:",
            EXCEPTION.replace("account:main/hot-1", "network:10.0.0.0/8") + "cases:",
            "entity: .*asN, or a block",
        ),
        ("cases:", EXCEPTION.replace("T00:00:00Z", "") + "cases:", "expires: .*RFC 3339"),
        ("cases:", EXCEPTION.replace("00:00Z", "00:00") + "cases:", "expires: .*RFC 3339"),
        ("cases:", EXCEPTION.replace("    owner: ada\n", "") + "cases:", "owner"),
        ("cases:", EXCEPTION + EXCEPTION.partition("\n")[2] + "cases:", r"exceptions\[1\].entity: .*excepted twice"),
    ],
)
def test_a_broken_file_is_refused_by_file_and_field(tmp_path: Path, old: str, new: str, says: str) -> None:
    assert old in SAMPLE
    with pytest.raises(DetectorFileError, match=f"^drain-fan-in.yaml: .*({says})"):
        load_directory(write(tmp_path, SAMPLE.replace(old, new, 1)))


def test_a_bomb_of_aliases_is_refused_before_it_grows(tmp_path: Path) -> None:
    bomb = "a: &a [x, x]\n" + "".join(
        f"{chr(98 + n)}: &{chr(98 + n)} [*{chr(97 + n)}, *{chr(97 + n)}]\n" for n in range(20)
    )
    with pytest.raises(DetectorFileError, match="anchors are not allowed"):
        load_directory(write(tmp_path, bomb))
    with pytest.raises(DetectorFileError, match="aliases are not allowed"):
        load_directory(write(tmp_path, "a: *b\n"))


def test_deep_nesting_is_an_error_not_a_crash(tmp_path: Path) -> None:
    with pytest.raises(DetectorFileError, match="not plain YAML"):
        load_directory(write(tmp_path, "[" * 30_000))


def test_too_large_empty_and_unreadable(tmp_path: Path) -> None:
    with pytest.raises(DetectorFileError, match="holds no detector"):
        load_directory(tmp_path)
    with pytest.raises(DetectorFileError, match="larger"):
        load_directory(write(tmp_path, SAMPLE + "#" * MAX_FILE_BYTES))
    (tmp_path / "drain-fan-in.yaml").unlink()
    (tmp_path / "folder.yaml").mkdir()
    with pytest.raises(DetectorFileError, match="cannot be read"):
        load_directory(tmp_path)
    with pytest.raises(DetectorFileError, match="cannot be reached"):
        load_directory(tmp_path / "nowhere")


def test_a_file_that_would_be_passed_over_is_refused(tmp_path: Path) -> None:
    write(tmp_path, SAMPLE)
    with pytest.raises(DetectorFileError, match=r"other\.yml: file: would be passed over: end its name in \.yaml"):
        load_directory(write(tmp_path, SAMPLE, "other.yml"))


def test_one_id_in_two_files_cannot_be(tmp_path: Path) -> None:
    write(tmp_path, SAMPLE)
    with pytest.raises(DetectorFileError, match=r"second\.yaml: id: 'drain-fan-in' must equal"):
        load_directory(write(tmp_path, SAMPLE, "second.yaml"))


def test_a_survey_tells_every_broken_file_at_once(tmp_path: Path) -> None:
    write(tmp_path, SAMPLE)
    write(tmp_path, SAMPLE.replace("severity: critical", "severity: x"), "a-first.yaml")
    write(tmp_path, "[", "b-second.yaml")
    found, broken = survey(tmp_path)
    assert [detector.id for detector in found] == ["drain-fan-in"]
    assert [(one.file, one.field) for one in broken] == [("a-first.yaml", "severity"), ("b-second.yaml", "file")]


def test_guards_stand_in_the_order_of_what_runs(tmp_path: Path) -> None:
    write(tmp_path, SAMPLE)
    write(
        tmp_path,
        SAMPLE.replace("id: drain-fan-in", "id: a-draft").replace("status: live", "status: draft"),
        "a-draft.yaml",
    )
    text = SAMPLE.replace("id: drain-fan-in", "id: z-other").replace('"signing.requested"', '"deposit.confirmed"')
    write(tmp_path, text.replace('op: ">="', 'op: "<"').replace("number: 2.0", "number: 7.0"), "z-other.yaml")
    found = load_directory(tmp_path)
    guards = found.guards()
    assert [detector.id for detector in found.running] == ["drain-fan-in", "z-other"]
    assert guards.number.tolist() == [2.0, 7.0]
    assert guards.op.tolist() == [0, 3]
    assert guards.kinds.shape == (2, len(KINDS))
    assert [KINDS[at] for at in guards.kinds[0].nonzero()[0] if not KINDS[at].startswith("withdrawal.")] == [
        "signing.requested"
    ]
    assert guards.kinds[1, KINDS.index("deposit.confirmed")]


def test_a_set_without_detectors_has_arrays_of_the_same_shape() -> None:
    empty, _ = survey(Path("/nowhere/at/all"))
    assert empty.guards().kinds.shape == (0, len(KINDS))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300) | st.text(max_size=300).map(str.encode))
def test_no_bytes_do_anything_but_load_or_be_refused(content: bytes) -> None:
    with pytest.raises(DetectorFileError, match=r"^any\.yaml: "):
        parse("any.yaml", content)


@settings(max_examples=150, deadline=None)
@given(at=st.integers(0, len(SAMPLE) - 1), put=st.text(min_size=0, max_size=6), cut=st.integers(0, 6))
def test_a_mutated_file_loads_or_is_refused(at: int, put: str, cut: int) -> None:
    content = (SAMPLE[:at] + put + SAMPLE[at + cut :]).encode(errors="surrogatepass")
    try:
        found = parse("drain-fan-in.yaml", content)
    except DetectorFileError as refused:
        told = (refused.field, refused.problem)
        assert all(told)
    else:
        assert found.id == "drain-fan-in"
