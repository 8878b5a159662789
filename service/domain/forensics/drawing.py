"""The trace as a picture: who paid whom, hop by hop from left to right; one SVG that loads nothing.

Rules: drawn from the report alone, so that the picture can show nothing that the evidence does not say; every text is
escaped; at most `MOST_NODES` addresses and `MOST_EDGES` payments, those with the most stolen money, and what is left out is
said. A line's width is the share of the theft that it carries by haircut; victim, service and own address differ by shape
and not by colour alone (WCAG 2.2, 1.4.1), and title and description say what is seen (1.1.1).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any, Final

MOST_NODES: Final = 60
MOST_EDGES: Final = 120
_COLUMN: Final = 262
_ROW: Final = 66
_BOX: Final = (150, 38)
_MARGIN: Final = 26
_HEAD: Final = 64
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
    height = _HEAD + tallest * _ROW + _MARGIN
    at: dict[str, tuple[int, int]] = {}
    for place, hop in enumerate(sorted(columns)):
        free = (tallest - len(columns[hop])) * _ROW // 2
        for number, node in enumerate(columns[hop]):
            at[node.address] = _MARGIN + place * _COLUMN, top + _HEAD + free + number * _ROW
    most = max((edge.stolen for edge in edges), default=1) or 1
    title = f"{chain['chain']}: {len(nodes)} addresses, {len(edges)} payments{left}"
    parts = [
        f'<text class="h" x="{_MARGIN}" y="{top + 26}">{_safe(title)}</text>',
        f'<text class="s" x="{_MARGIN}" y="{top + 44}">{_safe(_legend(chain))}</text>',
        *(
            line
            for number, edge in enumerate(edges)
            for line in _edge(edge, at, most, _before(edges[:number], edge, at))
        ),
        *(line for node in nodes.values() for line in _node(node, at[node.address])),
    ]
    return parts, (2 * _MARGIN + max(1, len(columns)) * _COLUMN, height), title + "."


def _before(earlier: Sequence[_Edge], edge: _Edge, at: Mapping[str, tuple[int, int]]) -> int:
    """Return how many amounts stand at the same side of the same taker already."""
    side = at[edge.taker][0] > at[edge.giver][0]
    return sum(1 for e in earlier if e.taker == edge.taker and (at[e.taker][0] > at[e.giver][0]) == side)


def _legend(chain: Mapping[str, Any]) -> str:
    cut = "; ".join(str(one) for one in chain["cut"][:2])
    end = f" Cut short: {cut}." if cut else ""
    return f"Solid box: address. Blue: victim. Dashed: on a list, not followed. Green: ours.{end}"[:160]


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
    stopped = "" if told["stopped"] in (None, "labelled", "own") else f"not followed: {told['stopped']}"
    hop = told["hop"] if told["hop"] is not None else _UNPLACED
    return _Node(address, hop, stolen, label or stopped, kind)


def _node(node: _Node, at: tuple[int, int]) -> Iterable[str]:
    x, y = at
    radius = 18 if node.kind == "v" else 3
    yield f'<rect class="{node.kind}" x="{x}" y="{y}" width="{_BOX[0]}" height="{_BOX[1]}" rx="{radius}"/>'
    yield f'<text x="{x + 10}" y="{y + 16}">{_safe(_short(node.address))}<title>{_safe(node.address)}</title></text>'
    if node.label:
        yield f'<text class="s" x="{x + 10}" y="{y + 30}">{_safe(_cut(node.label, 22))}</text>'


def _edge(edge: _Edge, at: Mapping[str, tuple[int, int]], most: int, above: int) -> Iterable[str]:
    """Yield a payment's line, and its amount beside the taker; `above` counts the amounts that stand there already."""
    (x0, y0), (x1, y1) = at[edge.giver], at[edge.taker]
    width = round(1.2 + 7 * edge.stolen / most, 1)
    middle = _BOX[1] // 2
    if x1 > x0:
        start, end = x0 + _BOX[0], x1 - 2
        bend = min(end - start, _COLUMN - _BOX[0]) // 2
        path = f"M{start} {y0 + middle}C{start + bend} {y0 + middle} {end - bend} {y1 + middle} {end} {y1 + middle}"
        text = end - 8, y1 + middle - 7 - 12 * above, "end"
    else:
        low = max(y0, y1) + _BOX[1] + 16
        start, end = x0 + _BOX[0] // 2, x1 + _BOX[0] // 2
        path = f"M{start} {y0 + _BOX[1]}C{start} {low} {end} {low} {end} {y1 + _BOX[1] + 2}"
        text = end + 6, y1 + _BOX[1] + 14 + 12 * above, "start"
    count = f" in {edge.payments}" if edge.payments > 1 else ""
    told = _safe(_amount(edge) + count)
    yield f'<path class="p" stroke-width="{width}" marker-end="url(#trace-a)" d="{path}"/>'
    yield f'<text class="e" x="{text[0]}" y="{text[1]}" text-anchor="{text[2]}">{told}</text>'


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
        return f"{edge.stolen / 10**digits:,.4g} {name}"
    token = edge.asset.partition("/erc20:")[2]
    return f"{edge.stolen:,.4g} of {token[:8]}" if token else f"{edge.stolen:,.4g}"
