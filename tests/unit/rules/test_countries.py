"""The table of countries: complete, in range, and placed where the countries are."""

import math
import re

import pytest

from rules.lists.countries import COUNTRY_AT, PLACES


def test_codes_are_alpha_2_and_complete() -> None:
    assert 245 <= len(COUNTRY_AT) <= 255
    assert all(re.fullmatch("[A-Z]{2}", code) for code in COUNTRY_AT)
    assert list(COUNTRY_AT) == sorted(COUNTRY_AT)
    assert list(COUNTRY_AT.values()) == list(range(len(PLACES)))


def test_every_centre_is_on_the_unit_sphere_and_reaches_somewhere() -> None:
    lengths = (PLACES[:, :3] ** 2).sum(axis=1)
    assert abs(lengths - 1.0).max() < 1e-12
    assert PLACES[:, 3].min() >= 500.0
    assert PLACES[:, 3].max() <= 5000.0


@pytest.mark.parametrize(
    ("one", "other", "km"),
    [("DE", "FR", 800), ("SG", "US", 15_300), ("GB", "AU", 15_000), ("JP", "KR", 900), ("BR", "ZA", 7_700)],
)
def test_distances_are_those_of_the_globe(one: str, other: str, km: float) -> None:
    a, b = PLACES[COUNTRY_AT[one], :3], PLACES[COUNTRY_AT[other], :3]
    assert 6371.0 * math.acos(float(a @ b)) == pytest.approx(km, rel=0.1)
