"""The PDF of a letter: it says what the text says, the same bytes each time, and nothing that runs."""

import subprocess
import sys
from io import BytesIO

import pytest
from pypdf import PdfReader

from service.domain.errors import RefusedByOtherSideError
from service.notifiers.pdf import COLUMNS, MOST_PAGES, ROWS, as_pdf

LONG = f"- 2500000 to eip155:1:0x{'ab' * 20}, 2026-01-05 09:12:44 UTC, transaction 0x{'cd' * 32}"


def said(text: str) -> list[str]:
    """The pages' lines without their number, which must be there."""
    pages = PdfReader(BytesIO(as_pdf(text, "A letter"))).pages
    found: list[str] = []
    for number, page in enumerate(pages, 1):
        *lines, last = page.extract_text().splitlines()
        assert last.strip() == f"{number} / {len(pages)}"
        found += lines
    return found


def words(lines: list[str]) -> list[str]:
    return " ".join(lines).split()


def test_it_says_every_word_in_its_order() -> None:
    text = "\n".join(["To: Example Coin Ltd", "", "Grüße, Привет: $x_1$ <b>&amp;</b> \\textbf{no}", LONG] * 30)
    assert words(said(text)) == text.split()


def test_a_line_is_cut_between_words_and_one_word_between_its_characters() -> None:
    assert max(len(line.rstrip()) for line in said(LONG)) <= COLUMNS
    assert "".join(words(said("x" * (3 * COLUMNS)))) == "x" * (3 * COLUMNS)


@pytest.mark.parametrize("character", ["你", "\u0301", "ש", "م", "\U0001f600"])
def test_what_the_letters_lack_is_written_by_its_number(character: str) -> None:
    assert said(f"a{character}b") == [f"a<U+{ord(character):04X}>b"]


def test_the_same_text_gives_the_same_bytes_in_another_process() -> None:
    script = f"import sys; from service.notifiers.pdf import as_pdf; sys.stdout.buffer.write(as_pdf({LONG!r}, 'A'))"
    run = subprocess.run([sys.executable, "-c", script], env={"PYTHONHASHSEED": "7"}, capture_output=True, check=True)
    assert run.stdout == as_pdf(LONG, "A")
    assert run.stdout != as_pdf(LONG + ".", "A")


def test_it_runs_and_loads_nothing_and_tells_no_time() -> None:
    raw = as_pdf(LONG, "Request (freeze)")
    assert not [word for word in (b"/JavaScript", b"/JS", b"/OpenAction", b"/URI", b"/Launch", b"/AA ") if word in raw]
    told = PdfReader(BytesIO(raw)).metadata
    assert told is not None
    assert {str(name): str(value) for name, value in told.items()} == {
        "/Title": "Request (freeze)",
        "/Creator": "Portcullis",
    }


def test_pages_are_bounded() -> None:
    with pytest.raises(RefusedByOtherSideError, match=f"{MOST_PAGES} at most"):
        as_pdf("x\n" * (ROWS * MOST_PAGES + 1), "A")
    assert len(said("")) == 0
