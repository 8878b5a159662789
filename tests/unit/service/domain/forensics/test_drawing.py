"""The picture: valid XML whatever the report says, bounded, nothing in it that runs."""

from typing import Any
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.forensics.drawing import MOST_EDGES, MOST_NODES, drawn

SVG = "{http://www.w3.org/2000/svg}"


def chain(pairs: list[tuple[str, str, int]], label: str = "") -> dict[str, Any]:
    def stolen(amount: int) -> dict[str, str]:
        return dict.fromkeys(("poison", "haircut", "fifo"), str(amount))

    asset = "eip155:1/slip44:60"
    moved = [
        {
            "sources": [giver],
            "targets": [{"address": taker, "amount": str(amount), "stolen": stolen(amount)}],
            "asset": asset,
        }
        for giver, taker, amount in pairs
    ]
    takers = dict.fromkeys(taker for _, taker, _ in pairs)
    known = [
        {"address": taker, "hop": hop, "label": {"name": label, "kind": "mixer"} if label else None,
         "stopped": None, "received": {asset: stolen(1)}}
        for hop, taker in enumerate(takers, 1)
    ]  # fmt: skip
    return {"chain": "eip155:1", "cut": [], "victims": ["victim"], "movements": moved, "addresses": known}


def test_nothing_is_drawn_as_nothing() -> None:
    assert "Nothing was traced" in drawn({"chains": []})


def test_the_most_stolen_is_drawn_and_the_rest_is_counted() -> None:
    many = chain([("victim", f"t{n}", n + 1) for n in range(300)])
    picture = ET.fromstring(drawn({"chains": [many]}))  # noqa: S314  our own
    boxes = [r for r in picture.iter(f"{SVG}rect") if r.get("class")]
    assert len(boxes) == MOST_NODES <= 60
    assert len(list(picture.iter(f"{SVG}path"))) <= MOST_EDGES + 1
    assert "smaller payments left out" in "".join(picture.itertext())


def test_a_label_stands_with_its_list_and_says_where_it_ended_the_trace() -> None:
    told = chain([("victim", "a", 2), ("a", "mixer", 1)], "Blender")
    listed = {"source": "own notes", "listed_on": "2026-11-01", "imported_by": "per_ada"}
    for one in told["addresses"]:
        one["label"] |= listed
    told["addresses"][1]["stopped"] = "labelled"
    words = [text.text for text in ET.fromstring(drawn({"chains": [told]})).iter(f"{SVG}text")]  # noqa: S314  our own
    assert words.count("imported by per_ada") == 2
    assert words.count("own notes, 2026-11-01") == words.count("the trace ends: own notes, 2026-11-01") == 1


def test_what_nobody_could_tell_stands_in_the_picture() -> None:
    told = chain([("victim", "a", 2)]) | {
        "inside": {
            "looked_into": 1,
            "not_told": 3,
            "transactions": [],
            "because": "",
            "not_asked": ["further ones", "others"],
        }
    }
    picture = ET.fromstring(drawn({"chains": [told]}))  # noqa: S314  our own
    words = "".join(picture.itertext())
    assert "Not told: what contracts paid inside 3 transactions" in words
    assert "Not asked: what contracts paid inside further ones" in words


def test_amounts_beside_one_address_do_not_cover_one_another() -> None:
    many = chain([(giver, "taker", 5) for giver in ("victim", "a", "b", "c")] + [("taker", "a", 1), ("taker", "b", 1)])
    amounts = [t for t in ET.fromstring(drawn({"chains": [many]})).iter(f"{SVG}text") if t.get("class") == "e"]  # noqa: S314  our own
    assert len({(t.get("x"), t.get("y")) for t in amounts}) == len(amounts) == 6


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.text(max_size=60), st.text(max_size=60), st.integers(0, 10**30)), max_size=20),
    st.text(max_size=80),
)
def test_any_report_is_a_picture_that_runs_nothing(pairs: list[tuple[str, str, int]], label: str) -> None:
    told = chain(pairs, label)
    picture = ET.fromstring(drawn({"chains": [told]}))  # noqa: S314  our own
    assert {one.tag.removeprefix(SVG) for one in picture.iter()} <= {
        "svg", "title", "desc", "style", "defs", "marker", "path", "rect", "text",
    }  # fmt: skip


def test_one_coin_is_one_coin() -> None:
    picture = drawn({"chains": [chain([("victim", "a", 10**18), ("a", "b", 2 * 10**18)])]})
    assert ">1 coin<" in picture
    assert ">2 coins<" in picture
