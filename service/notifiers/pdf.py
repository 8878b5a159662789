"""A plain text as a PDF (ISO 32000-1): what an issuer's clerk can print, sign for and file.

Rules: the file says what the text says, line by line and in its order, and nothing else; a character that its letters lack
is written as `<U+…>`, never left out. The same text gives the same bytes with the same version of the library, so that the
file can be made again and compared with its signed digest. It loads and runs nothing.
"""

import textwrap
import unicodedata
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Final

from service.domain.errors import RefusedByOtherSideError

A4_INCHES: Final = (8.27, 11.69)
MOST_PAGES: Final = 50
COLUMNS: Final = 92
ROWS: Final = 66
_LETTERS: Final = ("fonts", "ttf", "DejaVuSansMono.ttf")
"""Of the library itself: what the machine has may be another version, and give other bytes."""
_POINTS: Final = 8.5
_MARGIN: Final = 0.09
_LEADING: Final = (1 - 2 * _MARGIN) / ROWS


def as_pdf(text: str, title: str) -> bytes:
    """Return `text` on pages of A4. Raises RefusedByOtherSideError for more than `MOST_PAGES` of them."""
    # Imported by whoever sends a letter: no other worker pays for them.
    from matplotlib import rc_context  # noqa: PLC0415  see above
    from matplotlib.backends.backend_pdf import PdfPages  # noqa: PLC0415  see above
    from matplotlib.figure import Figure  # noqa: PLC0415  see above

    pages = list(_pages(text))
    if len(pages) > MOST_PAGES:
        raise RefusedByOtherSideError(f"no PDF of {len(pages)} pages is made, {MOST_PAGES} at most: shorten the letter")
    found = BytesIO()
    letters = _letters()
    told = {"Title": title, "Creator": "Portcullis", "Producer": None, "CreationDate": None}
    with rc_context({"pdf.fonttype": 42, "pdf.compression": 6}), PdfPages(found, metadata=told) as file:
        for number, lines in enumerate(pages, 1):
            page = Figure(figsize=A4_INCHES)
            for row, line in (*enumerate(lines), (ROWS + 1, f"{number} / {len(pages)}")):
                where = (_MARGIN, 1 - _MARGIN - row * _LEADING)
                page.text(*where, line, font=letters, fontsize=_POINTS, parse_math=False, va="top")
            file.savefig(page)
    return found.getvalue()


def _letters() -> Path:
    from matplotlib import get_data_path  # noqa: PLC0415  see `as_pdf`

    return Path(get_data_path(), *_LETTERS)


def _pages(text: str) -> Iterator[list[str]]:
    rows = [row for line in _drawable(text).splitlines() for row in _rows(line)]
    for start in range(0, max(len(rows), 1), ROWS):
        yield rows[start : start + ROWS]


def _rows(line: str) -> list[str]:
    return textwrap.wrap(line, COLUMNS, subsequent_indent="    ", replace_whitespace=False, drop_whitespace=False) or [
        ""
    ]


def _drawable(text: str) -> str:
    from matplotlib.font_manager import get_font  # noqa: PLC0415  see `as_pdf`

    letters = get_font(_letters())
    known = {c: c == "\n" or (_stands_alone(c) and letters.get_char_index(ord(c)) != 0) for c in set(text)}
    return "".join(c if known[c] else f"<U+{ord(c):04X}>" for c in text)


def _stands_alone(character: str) -> bool:
    """Whether a character is drawn left to right, beside others and not over them: what follows keeps its place."""
    return not unicodedata.combining(character) and unicodedata.bidirectional(character) not in {"R", "AL"}
