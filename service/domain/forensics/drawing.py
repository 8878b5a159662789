"""The trace as a picture: who paid whom, hop by hop from left to right; one SVG that loads nothing.

Rules: drawn from the report alone, so that the picture can show nothing that the evidence does not say; every text is
escaped; at most `MOST_NODES` addresses and `MOST_EDGES` payments, those with the most stolen money, and what is left out is
said. A label stands with its list, that list's date and who imported it, and says where it ended the trace. A line's width
is the share of the theft that it carries by haircut; victim, service and own address differ by shape and not by colour alone
(WCAG 2.2, 1.4.1), and title and description say what is seen (1.1.1).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Final

MOST_NODES: Final = 60
MOST_EDGES: Final = 120
_COLUMN: Final = 288
_ROW: Final = 72
_BOX: Final = (176, 38)
_MARGIN: Final = 26
_HEAD: Final = 68
_LINE: Final = 15
_FITS: Final = 27
"""Characters of a name that a box holds; a smaller caption holds a few more."""
_WIDE: Final = 90
"""Characters of a line above the picture."""
_SIDE: Final = 7
"""Between two lines from one address to the same other one."""
_DECIMALS: Final = {"60": (18, "coins"), "0": (8, "BTC"), "1": (8, "test BTC")}
"""By SLIP-44 coin type: decimals and name."""
_UNPLACED: Final = 99
"""The hop of an address that was not followed, until its givers say where it stands."""
_STYLE: Final = "".join(
    f".trace {rule}"
    for rule in (
        "text{font:11px system-ui,sans-serif;fill:#1b1f24}",
        "text.h{font-weight:600;font-size:14px}",
        "text.s{fill:#5b6572}",
        "text.c{font-size:9px;fill:#7a4a05}",
        "text.e{font-size:10px;fill:#5b2b22;stroke:#fff;stroke-width:3px;paint-order:stroke}",
        ".n{fill:#f3f5f8;stroke:#8a94a3}",
        ".v{fill:#dbe8fb;stroke:#2457a6;stroke-width:1.6}",
        ".l{fill:#fdf0d9;stroke:#b45309;stroke-width:1.6;stroke-dasharray:5 3}",
        ".o{fill:#d9efe2;stroke:#1f7a4d;stroke-width:1.6}",
        ".p{fill:none;stroke:#c0392b;stroke-opacity:.6}",
    )
)


@dataclass(frozen=True, slots=True)
class _Node:
    address: str
    hop: int
    stolen: int
    label: str
    kind: str
    """n | v | l | o: plain, victim, labelled, our own."""
    listed: tuple[str, ...] = ()
    """Which list names it, of what date; and by whom imported."""


@dataclass(frozen=True, slots=True)
class _Edge:
    giver: str
    taker: str
    asset: str
    stolen: int
    payments: int


def drawn(report: Mapping[str, Any]) -> str:
    """Return the SVG document of a report: valid XML, nothing in it that runs or loads."""
    parts: list[str] = []
    width, top = _COLUMN * 2, 0
    told: list[str] = []
    for chain in report["chains"]:
        made, size, said = _chain_drawn(chain, top)
        parts += made
        told.append(said)
        width, top = max(width, size[0]), top + size[1]
    if not parts:
        parts = [f'<text class="h" x="{_MARGIN}" y="30">Nothing was traced.</text>']
        top = 60
    return "".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top}" class="trace" role="img"',
            ' aria-labelledby="trace-t trace-d"><title id="trace-t">Where the money went</title>',
            f'<desc id="trace-d">{_safe(" ".join(told) or "Nothing was traced.")}</desc><style>{_STYLE}</style>',
            '<defs><marker id="trace-a" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"',
            ' markerUnits="userSpaceOnUse" orient="auto"><path d="M0 0L8 4L0 8z" fill="#c0392b"/></marker></defs>',
            f'<rect width="{width}" height="{top}" fill="#fff"/>',
            *parts,
            "</svg>",
        )
    )


def _chain_drawn(chain: Mapping[str, Any], top: int) -> tuple[list[str], tuple[int, int], str]:
    nodes, edges, left = _graph(chain)
    columns: dict[int, list[_Node]] = {}
    for node in sorted(nodes.values(), key=lambda n: (n.hop, -n.stolen, n.address)):
        columns.setdefault(node.hop, []).append(node)
    tallest = max((len(column) for column in columns.values()), default=1)
    words = _words(chain)
    head = _HEAD + _LINE * (len(words) - 1)
    height = head + tallest * _ROW + _MARGIN
    at: dict[str, tuple[int, int]] = {}
    for place, hop in enumerate(sorted(columns)):
        free = (tallest - len(columns[hop])) * _ROW // 2
        for number, node in enumerate(columns[hop]):
            at[node.address] = _MARGIN + place * _COLUMN, top + head + free + number * _ROW
    most = max((edge.stolen for edge in edges), default=1) or 1
    title = f"{chain['chain']}: {len(nodes)} addresses, {len(edges)} payments{left}"
    parts = [
        f'<text class="h" x="{_MARGIN}" y="{top + 26}">{_safe(title)}</text>',
        *(
            f'<text class="s" x="{_MARGIN}" y="{top + 44 + _LINE * number}">{_safe(line)}</text>'
            for number, line in enumerate(words)
        ),
        *(_line(edge, at, most, _beside(edges[:number], edge)) for number, edge in enumerate(edges)),
        *(line for node in nodes.values() for line in _node(node, at[node.address])),
        *(_told(edge, at, _before(edges[:number], edge, at)) for number, edge in enumerate(edges)),
    ]
    width = 2 * _MARGIN + max(1, len(columns) - 1) * _COLUMN + _BOX[0]
    return parts, (width, height), title + "."


def _beside(earlier: Sequence[_Edge], edge: _Edge) -> int:
    """Return how many lines go from the same giver to the same taker already."""
    return sum(1 for e in earlier if (e.giver, e.taker) == (edge.giver, edge.taker))


def _before(earlier: Sequence[_Edge], edge: _Edge, at: Mapping[str, tuple[int, int]]) -> int:
    """Return how many amounts stand at the same corner of the same taker already."""
    corner = _corner(edge, at)
    return sum(1 for e in earlier if e.taker == edge.taker and _corner(e, at) == corner)


def _corner(edge: _Edge, at: Mapping[str, tuple[int, int]]) -> tuple[bool, bool]:
    """Return whether a payment comes from the left, and whether from above: its amount stands on the other side of it."""
    (x0, y0), (x1, y1) = at[edge.giver], at[edge.taker]
    return x1 > x0, y0 < y1


def _words(chain: Mapping[str, Any]) -> list[str]:
    """Return the lines above a chain's picture: what shapes mean, and where the trace was cut."""
    cut = [_cut(f"Cut short: {one}", _WIDE) for one in chain["cut"][:2]]
    inside = chain.get("inside") or {}  # a report from before has no such word
    if untold := inside.get("not_told", 0):
        cut.append(_cut(f"Not told: what contracts paid inside {untold} transactions", _WIDE))
    cut += [_cut(f"Not asked: what contracts paid inside {one}", _WIDE) for one in inside.get("not_asked", [])[:1]]
    return ["Rounded, blue: victim. Dashed: on a list. Green: ours. Width: share of the theft.", *cut]


def _graph(chain: Mapping[str, Any]) -> tuple[dict[str, _Node], list[_Edge], str]:
    sums: dict[tuple[str, str, str], tuple[int, int]] = {}
    for movement in chain["movements"]:
        for target in movement["targets"]:
            for giver in movement["sources"][:1]:
                key = giver, target["address"], movement["asset"]
                before = sums.get(key, (0, 0))
                sums[key] = before[0] + int(target["stolen"]["haircut"]), before[1] + 1
    ranked = sorted((_Edge(*key, *value) for key, value in sums.items()), key=lambda e: (-e.stolen, e.giver, e.taker))
    known = {one["address"]: one for one in chain["addresses"]}
    nodes: dict[str, _Node] = {}
    edges: list[_Edge] = []
    for edge in ranked:
        fresh = [name for name in dict.fromkeys((edge.giver, edge.taker)) if name not in nodes]
        if len(edges) >= MOST_EDGES or len(nodes) + len(fresh) > MOST_NODES:
            continue
        edges.append(edge)
        nodes |= {name: _known(name, known.get(name), chain["victims"]) for name in fresh}
    for name, node in nodes.items():
        givers = [nodes[edge.giver].hop for edge in edges if edge.taker == name]
        if node.hop == _UNPLACED and givers:
            nodes[name] = replace(node, hop=1 + min(givers))
    left = len(ranked) - len(edges)
    return nodes, edges, f" ({left} smaller payments left out)" if left else ""


def _known(address: str, told: Mapping[str, Any] | None, victims: Sequence[str]) -> _Node:
    if address in victims:
        return _Node(address, 0, 0, "victim", "v")
    if told is None:
        return _Node(address, _UNPLACED, 0, "", "n")
    stolen = sum(int(taint["haircut"]) for taint in told["received"].values())
    label = "" if told["label"] is None else f"{told['label']['name']} ({told['label']['kind']})"
    kind = "l" if label else "o" if told["stopped"] == "own" else "n"
    said = told["label"] or {}
    ended = "the trace ends: " if told["stopped"] == "labelled" else ""
    listed: tuple[str, ...] = ()
    if said.get("source"):
        listed = f"{ended}{said['source']}, {said['listed_on']}", f"imported by {said['imported_by']}"
    stopped = "" if told["stopped"] in (None, "labelled", "own") else f"not followed: {told['stopped']}"
    hop = told["hop"] if told["hop"] is not None else _UNPLACED
    return _Node(address, hop, stolen, label or stopped, kind, listed)


def _node(node: _Node, at: tuple[int, int]) -> Iterable[str]:
    x, y = at
    radius = 18 if node.kind == "v" else 3
    yield f'<rect class="{node.kind}" x="{x}" y="{y}" width="{_BOX[0]}" height="{_BOX[1]}" rx="{radius}"/>'
    yield f'<text x="{x + 10}" y="{y + 16}">{_safe(_short(node.address))}<title>{_safe(node.address)}</title></text>'
    if node.label:
        yield f'<text class="s" x="{x + 10}" y="{y + 30}">{_safe(_cut(node.label, _FITS))}</text>'
    for number, line in enumerate(node.listed, 1):
        yield (
            f'<text class="c" x="{x + 2}" y="{y + _BOX[1] + 10 * number + 1}">{_safe(_cut(line, _FITS + 12))}'
            f"<title>{_safe(line)}</title></text>"
        )


def _line(edge: _Edge, at: Mapping[str, tuple[int, int]], most: int, beside: int) -> str:
    """Return a payment's line; `beside` counts those between the same two addresses already."""
    (x0, y0), (x1, y1) = at[edge.giver], at[edge.taker]
    width = round(1.2 + 7 * edge.stolen / most, 1)
    down = _BOX[1] // 2 + _SIDE * beside
    if x1 > x0:
        start, end = x0 + _BOX[0], x1 - 2
        bend = min(end - start, _COLUMN - _BOX[0]) // 2
        first, second = start + bend, end - bend
    else:  # back, or within a column: into the taker's right side, where no box stands between neighbours
        start, end = x0 if x1 < x0 else x0 + _BOX[0], x1 + _BOX[0] + 2
        down += _SIDE
        bend = (_COLUMN - _BOX[0]) // 2
        first, second = start - bend if x1 < x0 else start + bend, end + bend
    path = f"M{start} {y0 + down}C{first} {y0 + down} {second} {y1 + down} {end} {y1 + down}"
    return f'<path class="p" stroke-width="{width}" marker-end="url(#trace-a)" d="{path}"/>'


def _told(edge: _Edge, at: Mapping[str, tuple[int, int]], above: int) -> str:
    """Return a payment's amount beside its taker; `above` counts the amounts that stand at that corner already."""
    x, y = at[edge.taker]
    from_left, from_above = _corner(edge, at)
    place, anchor = (x - 10, "end") if from_left else (x + _BOX[0] + 10, "start")
    height = y + _BOX[1] // 2 + (17 + 12 * above if from_above or not from_left else -8 - 12 * above)
    count = f" in {edge.payments}" if edge.payments > 1 else ""
    return f'<text class="e" x="{place}" y="{height}" text-anchor="{anchor}">{_safe(_amount(edge) + count)}</text>'


def _safe(text: str) -> str:
    """Escape what XML knows, and put a mark where a character is none that prints: an endpoint may tell anything."""
    return escape("".join(c if c.isprintable() else "\ufffd" for c in text))


def _short(address: str) -> str:
    return address if len(address) <= 20 else f"{address[:10]}\u2026{address[-7:]}"  # noqa: PLR2004  what fits the box


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else f"{text[: most - 1]}\u2026"


def _amount(edge: _Edge) -> str:
    """Return the stolen part in three digits: in whole coins where the asset is a chain's own, else in base units."""
    coin = edge.asset.partition("/slip44:")[2]
    if coin in _DECIMALS:
        digits, name = _DECIMALS[coin]
        told = f"{edge.stolen / 10**digits:,.4g} {name}"
        return told.removesuffix("s") if told == "1 coins" else told
    token = edge.asset.partition("/erc20:")[2]
    return f"{edge.stolen:,.4g} of {token[:8]}" if token else f"{edge.stolen:,.4g}"
