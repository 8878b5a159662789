"""docs/generated says what the declarations say, and every page it points at exists."""

import re
from pathlib import Path

import pytest

from service.asgi import routes
from service.commands.reference import pages

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "generated"
TECHNIQUES = ("https://attack.mitre.org/", "https://aadapt.mitre.org/")
"""Where techniques are described; everything else that a page points at is a file."""


@pytest.mark.parametrize("name", sorted(pages()))
def test_a_page_is_what_the_declarations_say(name: str) -> None:
    assert (FOLDER / name).read_text(encoding="utf-8") == pages()[name], "run `make docs`"


def test_there_is_no_other_page() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(pages())


@pytest.mark.parametrize("name", sorted(pages()))
def test_what_a_page_points_at_exists(name: str) -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", pages()[name]):
        assert link.startswith(TECHNIQUES) or (FOLDER / link).is_file(), link


def test_every_call_is_listed() -> None:
    page = pages()["api.md"]
    for method, route in routes():
        assert f"`{method} {route.path}`" in page
