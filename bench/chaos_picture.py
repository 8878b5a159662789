"""The picture of bench/chaos.py: time to the right, faults as lines, incidents as dots, as high as their hold took."""

import math
from collections.abc import Sequence
from html import escape

WIDTH, HEIGHT, LEFT, TOP, BOTTOM = 1000, 420, 70, 30, 40
LOWEST_MS, HIGHEST_MS = 5.0, 100_000.0
LINES_MS = (10, 100, 1_000, 10_000)


def draw(faults: Sequence[tuple[float, str]], holds: Sequence[tuple[float, float]], seed: int) -> str:
    """Return an SVG. `faults`: (seconds, what); `holds`: (seconds of the webhook, milliseconds until the hold)."""
    times = [at for at, _ in (*faults, *holds)] or [0.0]
    first, last = min(times), max(times) + 1.0

    def across(at: float) -> float:
        return LEFT + (WIDTH - LEFT - 20) * (at - first) / (last - first)

    def up(ms: float) -> float:
        share = math.log(max(ms, LOWEST_MS) / LOWEST_MS) / math.log(HIGHEST_MS / LOWEST_MS)
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * min(share, 1.0)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18">From webhook to hold, while processes die (seed {seed})</text>',
    ]
    for ms in LINES_MS:
        label = f"{ms} ms" if ms < 1000 else f"{ms // 1000} s"
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - 20}" y1="{up(ms):.0f}" y2="{up(ms):.0f}" stroke="#ddd"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{up(ms) + 4:.0f}" text-anchor="end">{label}</text>')
    for at, what in faults:
        colour = "#d62728" if what.startswith("kill") else "#ff9f1c"
        place = f'x1="{across(at):.1f}" x2="{across(at):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"'
        parts.append(f'<line {place} stroke="{colour}" opacity="0.45"><title>{escape(what)}</title></line>')
    for at, took in holds:
        parts.append(
            f'<circle cx="{across(at):.1f}" cy="{up(took):.1f}" r="4" fill="#1f77b4"><title>{took:.0f} ms</title></circle>'
        )
    legend = "red: a process killed, orange: answers of the platform cut, blue: the hold of one incident"
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 12}">{last - first:.0f} s; {legend}</text></svg>')
    return "\n".join(parts) + "\n"
