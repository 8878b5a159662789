"""`evidence` and `address-lists`: what is sent, what is printed, what is written, and mistakes that are told what to do."""

import json
from pathlib import Path
from xml.etree import ElementTree as ET

import httpx
import pytest

from service.domain.errors import InputError
from tests.support.commands import Answers, answering, run

INCIDENT = "inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P"
ASSET = "eip155:1/slip44:60"
TAINT = {"poison": "50", "haircut": "18", "fifo": "40"}
ADDRESS = {"address": "0xmix", "hop": 2, "label": {"name": "Blender\x1b[2J", "kind": "mixer",
           "source": "Notes", "listed_on": "2026-11-01", "imported_by": "per_ada"}, "stopped": "labelled",
           "opening_unknown": False, "received": {ASSET: TAINT}, "resting": {}}  # fmt: skip
MOVED = {"transaction": "0x1", "block": 1, "at": None, "asset": ASSET, "theft": True, "sources": ["0xvictim"],
         "targets": [{"address": "0xmix", "amount": "50", "stolen": TAINT}]}  # fmt: skip
CHAIN = {"chain": "eip155:1", "complete": False, "cut": ["only 5 blocks are read"], "victims": ["0xvictim"],
         "movements": [MOVED], "more_movements": 0, "addresses": [ADDRESS], "fees": {}}  # fmt: skip
LINE = {"at": "2026-11-22T10:00:00+00:00", "kind": "access.login_succeeded", "actor": "eve", "ip": "203.0.113.9",
        "country": "XX", "session": "con-a/s1", "shares": ["session"], "about": None}  # fmt: skip
REPORT = {"chains": [CHAIN], "access": [LINE], "lists": [], "notes": ["bip122:x was not traced"]}
WHOLE = {"state": "complete", "updated_at": "2026-11-22T10:00:00Z", "report": REPORT, "picture": None}
LIST = {"id": "lst_1", "source": "Treasury", "listed_on": "2026-11-01", "entries": 2, "imported_by": "per_ada",
        "in_force": True}  # fmt: skip
OLD = LIST | {"id": "lst_0", "in_force": False}
ANSWERS: Answers = {
    ("GET", f"/v1/incidents/{INCIDENT}/evidence"): (200, WHOLE),
    ("GET", "/v1/incidents/inc_young/evidence"): (200, WHOLE | {"state": "gathering", "report": None}),
    ("POST", f"/v1/incidents/{INCIDENT}/evidence"): (202, {"incident": INCIDENT}),
    ("GET", "/v1/address-lists"): (200, {"items": [LIST, OLD]}),
    ("POST", "/v1/address-lists"): (201, LIST),
    ("POST", "/v1/address-lists/lst_1/remove"): (202, {"approval": "apr_1", "digest": "00"}),
}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[httpx.Request]:
    return answering(monkeypatch, ANSWERS)


def test_evidence_is_told_as_plain_text_and_drawn_from_the_same_report(
    asked: list[httpx.Request], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    picture = tmp_path / "trace.svg"
    told = run("evidence", INCIDENT, "--svg", str(picture))
    for word in ("0xmix", "Blender", "only 5 blocks", "eve", "203.0.113.9 XX", "bip122:x was not traced"):
        assert word in told
    assert "\x1b[2J" not in told
    assert "0xmix" in "".join(ET.fromstring(picture.read_text()).itertext())  # noqa: S314  our own
    assert json.loads(run("evidence", INCIDENT, "--json")) == WHOLE


def test_what_is_still_being_gathered_says_so_and_draws_nothing(asked: list[httpx.Request], tmp_path: Path) -> None:
    told = run("evidence", "inc_young", "--svg", str(tmp_path / "none.svg"))
    assert "still being gathered" in told
    assert not (tmp_path / "none.svg").exists()


def test_asking_again_is_one_call(asked: list[httpx.Request]) -> None:
    assert "Asked for" in run("evidence", INCIDENT, "--again")
    assert [(one.method, one.url.path) for one in asked] == [("POST", f"/v1/incidents/{INCIDENT}/evidence")]
    run("evidence", INCIDENT, "--again", "--past-labels")
    assert [json.loads(one.content) for one in asked] == [{"past_labels": False}, {"past_labels": True}]
    with pytest.raises(InputError, match="goes with --again"):
        run("evidence", INCIDENT, "--past-labels")


def test_lists_are_shown_and_imported_as_they_stand_in_the_file(asked: list[httpx.Request], tmp_path: Path) -> None:
    shown = run("address-lists", "show")
    assert "Treasury" in shown
    assert "per_ada" in shown
    file = tmp_path / "eth.txt"
    file.write_text("# a list\n0x5a0b54d5dc17e0aadc383d2db43b0a0d3e029c4c\n")
    words = ("--source", "Treasury", "--dated", "2026-11-01", "--kind", "sanctioned")
    assert "2 addresses of Treasury" in run("address-lists", "import", str(file), *words)
    sent = json.loads(asked[-1].content)
    assert sent == {"source": "Treasury", "listed_on": "2026-11-01", "name": "Listed", "kind": "sanctioned",
                    "text": file.read_text()}  # fmt: skip


def test_lists_say_whether_they_count_and_withdrawing_one_names_the_approval(
    asked: list[httpx.Request], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    states = {line.split()[1]: line for line in run("address-lists", "show").splitlines() if "lst_" in line}
    assert "in force" in states["lst_1"]
    assert "withdrawn" in states["lst_0"]
    assert "portcullis approve apr_1" in run("address-lists", "remove", "lst_1", "--why", "Old.")
    assert json.loads(asked[-1].content) == {"why": "Old."}


def test_a_file_that_cannot_be_read_is_told(asked: list[httpx.Request], tmp_path: Path) -> None:
    words = ("--source", "x", "--dated", "2026-11-01")
    with pytest.raises(InputError, match="cannot be read"):
        run("address-lists", "import", str(tmp_path / "none"), *words)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not UTF-8"):
        run("address-lists", "import", str(tmp_path / "binary"), *words)
    assert not asked
