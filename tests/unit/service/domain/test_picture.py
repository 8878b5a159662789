"""The picture: well-formed whatever comes in, bounded, told in words too, and its range read from the engine's own words."""

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rules.features.catalogue import FEATURES
from service.domain.picture import SPAN, Picture, Point, drawn, usual_range

NOW = datetime(2026, 3, 1, 14, 5, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


def parsed(picture: Picture) -> ET.Element:
    return ET.fromstring(drawn(picture))  # noqa: S314  our own document; that it parses is the test


moments = st.datetimes(NOW.replace(tzinfo=None) - timedelta(days=400), NOW.replace(tzinfo=None)).map(
    lambda at: at.replace(tzinfo=UTC)
)
points = st.builds(Point, moments, st.none() | st.floats(), st.booleans())


@given(st.text(max_size=400), points, st.lists(points, max_size=20), st.booleans())
def test_any_names_and_numbers_give_well_formed_bounded_xml(
    whose: str,
    marked: Point,
    past: list[Point],
    complete: bool,  # noqa: FBT001  drawn by hypothesis
) -> None:
    root = parsed(Picture(whose, marked, past, None, complete))
    for one in root.iter():
        for name in ("x", "y", "cx", "cy"):
            if one.get(name) is not None:
                assert -100 <= float(one.get(name) or "nan") <= 900, ET.tostring(one)
    assert root.findtext(f"{SVG}title")
    assert ("newest" in (root.findtext(f"{SVG}desc") or "")) != complete


@pytest.mark.parametrize(("low", "high"), [(40.0, 900.0), (1.25, 2e6), (3.0, 3.0), (0.02, 1e13)])
def test_the_range_is_read_from_the_words_in_which_the_engine_tells_it(low: float, high: float) -> None:
    feature = next(one for one in FEATURES if one.name == "amount_usd")
    found = usual_range(feature.show_usual(low, high))
    assert found is not None
    assert found == pytest.approx((low, high), rel=0.05)


@pytest.mark.parametrize(
    "told", ["no history", "", "USD", "900\u201340 USD", "in 2 % of cases", "1e400 USD", "9" * 400]
)
def test_what_tells_no_range_shades_nothing(told: str) -> None:
    assert usual_range(told) is None


def test_what_is_older_than_the_span_is_not_squeezed_to_its_edge() -> None:
    old = Point(NOW - SPAN - timedelta(days=1), 5.0)
    assert parsed(Picture("a", Point(NOW, 7.0), [old])).findall(f"{SVG}circle") == []


def test_points_on_one_spot_are_drawn_once() -> None:
    past = [Point(NOW - timedelta(days=3), 5.0)] * 500
    assert len(parsed(Picture("a", Point(NOW, 7.0), past)).findall(f"{SVG}circle")) == 1


def test_two_pictures_of_one_page_keep_their_ids_and_styles_apart() -> None:
    one, other = drawn(Picture("a", Point(NOW, 1.0), []), "p1"), drawn(Picture("a", Point(NOW, 1.0), []), "p2")
    assert 'id="p1-t"' in one
    assert 'id="p2-t"' in other
    style = one.partition("<style>")[2].partition("</style>")[0]
    assert all(rule.startswith(".past ") for rule in style.split("}") if rule)
