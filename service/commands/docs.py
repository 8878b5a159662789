"""Writes docs/generated from the declarations: actions, platforms' capabilities, detectors. No second copy exists."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from rules.loader import load_directory
from service import discovery
from service.actions.base import OneAccount, actions_in
from service.domain.quorum import Approval, PreAuthorised
from service.ports.custody import Capability, PlatformDeclaration

_NOTE = "<!-- written by `make docs` from the declarations; change those, not this file -->\n"


def docs(folder: Annotated[Path, typer.Argument(help="Where to write.")] = Path("docs/generated")) -> None:
    """Write the action list, the capability matrix and the detector list.

    Example: portcullis docs docs/generated
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (folder / name).write_text(text)
        typer.echo(f"{folder / name} written")


def pages() -> dict[str, str]:
    """Return every generated page by file name."""
    return {"actions.md": _actions(), "capabilities.md": _capabilities(), "detectors.md": _detectors()}


def _actions() -> str:
    rows = []
    for name, cls in sorted(actions_in("service.actions").items()):
        effect = cls.effect.value + (f": {cls.irreversible_because}" if cls.irreversible_because else "")
        radius = "one account" if isinstance(cls.blast_radius, OneAccount) else "workspace"
        needs = ", ".join(sorted(c.value for c in cls.needs)) or "—"
        undone = f"`{cls.undone_by}`" if cls.undone_by else "—"
        link = f"[`{name}`](../runbooks/action/{name}.md)"
        rows.append((link, effect, _demand(cls.approval), needs, radius, cls.lane.value, undone))
    heads = ("action", "effect", "approval", "platform needs", "blast radius", "worker", "undone by")
    return _page("Containment actions", heads, rows)


def _capabilities() -> str:
    platforms = discovery.declarations("service.custody", "PLATFORM", PlatformDeclaration)
    rows = [
        (f"`{capability.value}`", *("✓" if capability in p.capabilities else "✗" for p in platforms.values()))
        for capability in Capability
    ]
    table = _page("What each custody platform can do for us", ("capability", *platforms), rows)
    return table + "\n" + "\n".join(_missing(platforms.values())) + "\n"


def _missing(platforms: Iterable[PlatformDeclaration]) -> Iterator[str]:
    for platform in platforms:
        for capability, why in sorted(platform.missing.items()):
            yield f"- **{platform.name}** has no `{capability.value}`: {why}"


def _detectors() -> str:
    rows = [
        (
            f"[`{d.id}`](../runbooks/detector/{d.id}.md)",
            d.declaration.title,
            d.declaration.status.value,
            d.declaration.severity.value,
            d.declaration.decision,
            ", ".join(d.declaration.tags) or "—",
        )
        for d in sorted(load_directory(), key=lambda d: d.id)
    ]
    return _page("Detectors", ("detector", "what it says", "status", "severity", "decision", "technique"), rows)


def _demand(approval: Approval) -> str:
    if isinstance(approval, PreAuthorised):
        return f"none before; confirmed within {_words(approval.confirm_within)}"
    return " and ".join(f"{group.count} x {group.role.value}" for group in approval.groups)


def _words(time: timedelta) -> str:
    minutes = int(time.total_seconds()) // 60
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def _page(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return f"{_NOTE}# {title}\n\n" + "\n".join(lines) + "\n"
