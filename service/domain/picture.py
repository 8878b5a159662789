"""A small picture of what an account or a person usually does, with one activity marked: one SVG that loads nothing.

Rules: every text from outside is escaped, every number bounded; dark on white, so that it prints; what is marked differs by
shape and not by colour alone, and title and description say it to who cannot see it (WCAG 2.2, 1.1.1 and 1.4.1). Amounts
stand on a logarithmic scale; without an amount the hour of the day (UTC) stands in their place.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from html import escape
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 260
SPAN: Final = timedelta(days=90)
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 20, 40, 36
_LEAST_USD: Final = 0.01
_MOST_USD: Final = 1e15
_TICKS: Final = 6
_DECADES: Final = 7
_LABEL: Final = 44
_NUMBER: Final = r"(\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?)"
_RANGE: Final = re.compile(rf"{_NUMBER}\s*(?:USD)?\s*(?:\u2013|-|to)\s*{_NUMBER} USD", re.ASCII)
_SINGLE: Final = re.compile(rf"{_NUMBER} USD", re.ASCII)
_STYLE: Final = "".join(
    f".past {rule}"
    for rule in (
        "text{font:12px system-ui,sans-serif;fill:#1b1f24}",
        "text.s{fill:#5b6572}",
        "text.h{font-weight:600;font-size:13px;stroke:#fff;stroke-width:3px;paint-order:stroke}",
        ".g{stroke:#e3e7ec}",
        ".u{fill:#d9efe2}",
        ".d{fill:#2457a6;fill-opacity:.45}",
        ".a{fill:#fff;stroke:#b45309;stroke-width:1.6}",
        ".m{fill:#c0392b;stroke:#fff;stroke-width:1.5}",
        ".l{stroke:#c0392b;stroke-dasharray:3 3}",
    )
)
"""Every selector begins with the picture's class, so that a page that holds it keeps its own looks."""


@dataclass(frozen=True, slots=True)
class Point:
    """One activity: when, its value in USD where one was told, and whether it was alerted or held."""

    at: datetime
    usd: float | None = None
    anomalous: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """What is drawn. `whose` names the account or actor; `usual` is a range in USD."""

    whose: str
    marked: Point
    past: Sequence[Point]
    usual: tuple[float, float] | None = None
    complete: bool = True
    """Whether `past` is everything of the span; else only the newest of it."""


def usual_range(told: str) -> tuple[float, float] | None:
    """Return the range that a reason's `usual` tells: one or two numbers before USD. None when it tells none."""
    found = _RANGE.search(told)
    ends = found.groups() if found else (single := _SINGLE.search(told)) and (single[1], single[1])
    if not ends:
        return None
    low, high = (float(end.replace(",", "")) for end in ends)
    return (low, high) if 0.0 <= low <= high <= _MOST_USD else None


def drawn(picture: Picture, name: str = "past") -> str:
    """Return the SVG document: valid XML, nothing in it that runs or loads. `name` keeps ids apart within one page."""
    of_money = picture.marked.usd is not None or any(point.usd is not None for point in picture.past)
    scale: _Scale = _Money(picture) if of_money else _Hours(picture)
    parts = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" class="past" role="img"'
            f' aria-labelledby="{_safe(name)}-t {_safe(name)}-d"><title id="{_safe(name)}-t">{_safe(scale.title)}</title>'
            f'<desc id="{_safe(name)}-d">{_safe(_described(picture, scale))}</desc>'
        ),
        f'<style>{_STYLE}</style><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text class="h" x="{_LEFT}" y="20">{_safe(_cut(scale.title))}</text>',
        *scale.band(),
        *scale.grid(),
        *scale.days(),
        *_dots(picture.past, scale),
        *_mark(picture.marked, scale),
        "</svg>",
    ]
    return "".join(parts)


class _Scale:
    """Places moments and values; subclasses say what stands upwards."""

    title = ""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.until = picture.marked.at.astimezone(UTC)
        self.since = self.until - SPAN
        self.floor = HEIGHT - _BOTTOM

    def x(self, at: datetime) -> float:
        share = (at - self.since) / SPAN
        return round(_LEFT + min(max(share, 0.0), 1.0) * (WIDTH - _LEFT - _RIGHT - 8), 1)

    def y(self, point: Point) -> float | None:
        raise NotImplementedError

    def label(self, point: Point) -> str:
        raise NotImplementedError

    def lines(self) -> Iterable[tuple[float, str]]:
        """Yield height and label of each line of the grid."""
        raise NotImplementedError

    def band(self) -> Iterable[str]:
        """Return the shape of what is usual; nothing where that is not known."""
        return ()

    def up(self, share: float) -> float:
        """Return the height of a share (0 at the floor, 1 at the top)."""
        return round(self.floor - min(max(share, 0.0), 1.0) * (self.floor - _TOP), 1)

    def grid(self) -> Iterable[str]:
        for y, label in self.lines():
            yield f'<path class="g" d="M{_LEFT} {y}H{WIDTH - _RIGHT}"/>'
            yield f'<text class="s" x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{_safe(label)}</text>'

    def days(self) -> Iterable[str]:
        for number in range(_TICKS + 1):
            at = self.since + SPAN * number / _TICKS
            anchor = "end" if number == _TICKS else "middle"
            text = f"{at.strftime('%b')} {at.day}"
            yield f'<text class="s" x="{self.x(at)}" y="{HEIGHT - 14}" text-anchor="{anchor}">{text}</text>'


class _Money(_Scale):
    def __init__(self, picture: Picture) -> None:
        super().__init__(picture)
        self.title = f"Last 90 days: USD paid by {picture.whose}"
        told = [p.usd for p in (picture.marked, *picture.past) if p.usd is not None] + list(picture.usual or ())
        exponents = [math.log10(_bounded(usd)) for usd in told] or [0.0, 3.0]
        self.low = math.floor(min(exponents))
        self.high = max(self.low + 1, math.ceil(max(exponents)))

    def height(self, usd: float) -> float:
        return self.up((math.log10(_bounded(usd)) - self.low) / (self.high - self.low))

    def y(self, point: Point) -> float | None:
        return None if point.usd is None else self.height(point.usd)

    def label(self, point: Point) -> str:
        return "value not told" if point.usd is None else f"{_short(point.usd)} USD"

    def lines(self) -> Iterable[tuple[float, str]]:
        every = 1 + (self.high - self.low) // _DECADES
        for exponent in range(self.low, self.high + 1, every):
            yield self.height(10.0**exponent), _short(10.0**exponent)

    def band(self) -> Iterable[str]:
        if self.picture.usual is None:
            return
        low, high = self.picture.usual
        bottom, top = self.height(low), self.height(high)
        tall = max(round(bottom - top, 1), 3.0)
        yield f'<rect class="u" x="{_LEFT}" y="{top}" width="{WIDTH - _LEFT - _RIGHT}" height="{tall}"/>'
        told = f"usual: {_short(low)} USD" if low == high else f"usual: {_short(low)} to {_short(high)} USD"
        yield f'<text class="s" x="{WIDTH - _RIGHT}" y="20" text-anchor="end">{told}</text>'
        yield f'<rect class="u" x="{WIDTH - _RIGHT - 7 * len(told) - 16}" y="10" width="12" height="12"/>'


class _Hours(_Scale):
    def __init__(self, picture: Picture) -> None:
        super().__init__(picture)
        self.title = f"Last 90 days: hour (UTC) of {picture.whose}"

    def y(self, point: Point) -> float | None:
        at = point.at.astimezone(UTC)
        return self.up((at.hour + at.minute / 60) / 24)

    def label(self, point: Point) -> str:
        return point.at.astimezone(UTC).strftime("%H:%M UTC")

    def lines(self) -> Iterable[tuple[float, str]]:
        for hour in range(0, 25, 6):
            yield self.up(hour / 24), f"{hour:02d}h"


def _dots(past: Sequence[Point], scale: _Scale) -> Iterable[str]:
    seen: set[tuple[float, float, bool]] = set()
    for point in past:
        y = scale.y(point)
        place = (scale.x(point.at), -1.0 if y is None else y, point.anomalous)
        if y is None or point.at < scale.since or place in seen:
            continue
        seen.add(place)
        if point.anomalous:
            yield f'<path class="a" d="M{place[0]} {round(y - 4.5, 1)}l4.5 8h-9z"/>'
        else:
            yield f'<circle class="d" cx="{place[0]}" cy="{y}" r="2.6"/>'


def _mark(marked: Point, scale: _Scale) -> Iterable[str]:
    x, y = scale.x(marked.at), scale.y(marked)
    yield f'<path class="l" d="M{x} {_TOP - 8}V{scale.floor}"/>'
    if y is not None:
        yield f'<path class="m" d="M{x} {round(y - 7, 1)}l7 7l-7 7l-7 -7z"/>'
    text_y = round(max((y if y is not None else _TOP) + 4, _TOP + 4), 1)
    yield f'<text class="h" x="{x - 12}" y="{text_y}" text-anchor="end">{_safe(scale.label(marked))}</text>'


def _described(picture: Picture, scale: _Scale) -> str:
    anomalous = sum(point.anomalous for point in picture.past)
    told = [
        f"{len(picture.past)} earlier activities as dots, {anomalous} of them alerted or held as triangles.",
        (
            f"The activity in question is the diamond at the right edge: {scale.label(picture.marked)}, "
            f"{picture.marked.at.astimezone(UTC).strftime('%Y-%m-%d %H:%M')} UTC."
        ),
    ]
    if picture.usual is not None:
        low, high = picture.usual
        told.append(f"Usual is {_short(low)} to {_short(high)} USD, shaded.")
    if not picture.complete:
        told.append("Only the newest of them are shown.")
    return " ".join(told)


def _bounded(usd: float) -> float:
    return min(max(usd, _LEAST_USD), _MOST_USD) if math.isfinite(usd) else _MOST_USD


def _short(usd: float) -> str:
    """Return an amount in three digits with its thousands as a letter: 850, 18.3k, 4.01M."""
    for size, letter in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k")):
        if usd >= size:
            return f"{usd / size:.3g}{letter}" if usd < _MOST_USD else "1000T"
    return f"{usd:.3g}"


def _cut(text: str) -> str:
    return text if len(text) <= _LABEL else f"{text[: _LABEL - 1]}\u2026"


def _safe(text: str) -> str:
    """Return text for XML: printable characters only, escaped (XML 1.0 has no place for control characters)."""
    return escape("".join(c if c.isprintable() else "\ufffd" for c in text))
