"""The reference pages: actions, platforms' capabilities, detectors, API routes. Written from the declarations alone."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from typing import Final

from rules.loader import load_directory
from rules.techniques import address_of, name_of
from service import discovery
from service.actions.base import OneAccount, actions_in
from service.asgi import roles_of, routes
from service.domain.account import OwnWallet
from service.domain.plan import STARTS, TRANSITIONS, StepState
from service.domain.quorum import Approval, PreAuthorised, Role
from service.ports.custody import Capability, PlatformDeclaration

_NOTE: Final = "<!-- written by `make docs` from the declarations; change those, not this file -->\n"
_ROLES: Final = (Role.VIEWER, Role.ANALYST, Role.RESPONDER, Role.APPROVER, Role.TREASURY, Role.ADMIN)


def pages() -> dict[str, str]:
    """Return every generated page by file name."""
    return {
        "actions.md": _actions(),
        "api.md": _api(),
        "capabilities.md": _capabilities(),
        "detectors.md": _detectors(),
        "features.md": _features(),
        "steps.md": _steps(),
    }


def _actions() -> str:
    rows = []
    for name, cls in sorted(actions_in("service.actions").items()):
        effect = cls.effect.value + (f": {cls.irreversible_because}" if cls.irreversible_because else "")
        effect += f", and waits: {cls.waits_because}" if cls.waits_because else ""
        radius = "one account" if isinstance(cls.blast_radius, OneAccount) else "workspace"
        needs = ", ".join(sorted(c.value for c in cls.needs)) or "—"
        undone = f"`{cls.undone_by}`" if cls.undone_by else cls.no_undo_because or "—"
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
    return table + "\n" + "\n".join(_missing(platforms.values())) + "\n" + _own_wallets()


def _own_wallets() -> str:
    """Return what is done on chains and with keys, by the kinds of wallets that each action declares to take."""
    acting = [action for _, action in sorted(actions_in("service.actions").items()) if action.takes]
    rows = [
        (
            f"[`{action.name}`](../runbooks/action/{action.name}.md)",
            _demand(action.approval),
            *("✓" if kind in action.takes else "✗" for kind in OwnWallet),
        )
        for action in acting
    ]
    whys = [
        f"- **{kind.value}** has no `{action.name}`: {action.instead[kind]}"
        for kind in OwnWallet
        for action in acting
        if kind in action.instead
    ]
    heads = ("action", "approval", *(kind.value for kind in OwnWallet))
    lead = (
        "Not by a platform's call but by keys of the vault and the guardian, mostly on the chain. Of a wallet that is "
        "watched through another platform's connection it is the same: who holds its keys decides."
    )
    return f"\n## What is done with own wallets\n\n{lead}\n\n{_table(heads, rows)}\n" + "\n".join(whys) + "\n"


def _missing(platforms: Iterable[PlatformDeclaration]) -> Iterator[str]:
    for platform in platforms:
        for capability, why in sorted(platform.missing.items()):
            yield f"- **{platform.name}** has no `{capability.value}`: {why}"


def _detectors() -> str:
    rows = [
        (
            f"[`{d.id}`](../runbooks/detector/{d.id}.md)",
            d.declaration.title,
            d.declaration.standing,
            d.declaration.severity.value,
            d.declaration.decision,
            ", ".join(_tag(tag) for tag in d.declaration.tags) or "—",
        )
        for d in sorted(load_directory(), key=lambda d: d.id)
    ]
    return _page("Detectors", ("detector", "what it says", "status", "severity", "decision", "technique"), rows)


def _tag(tag: str) -> str:
    name, address = name_of(tag), address_of(tag)
    return f"[{tag}]({address}) {name}" if name and address else tag


def _features() -> str:
    from rules.examples import EXAMPLES  # noqa: PLC0415 -- only this page shows them
    from rules.explain import meaning  # noqa: PLC0415 -- loads the compiler, which no other page needs
    from rules.features.catalogue import FEATURES  # noqa: PLC0415 -- as above

    rows = [
        (
            f"`{f.name}`",
            meaning(f),
            f.unit,
            f.reads,
            f.null_when,
            f"{f.group}, {f.weight:g}" if f.scored else "—",
            f"{EXAMPLES[f.name]} → {f.show(EXAMPLES[f.name].value)}",
        )
        for f in FEATURES
    ]
    heads = ("feature", "what it means", "unit", "reads", "unknown when", "group in the score, weight", "for example")
    return _page("Features", heads, rows)


def _steps() -> str:
    ways = [(old, new, because) for old, found in TRANSITIONS.items() for new, because in found.items()]
    table = _page("States of a step", ("from", "to", "when"), [(f"`{o.value}`", f"`{n.value}`", b) for o, n, b in ways])
    lines = [
        "stateDiagram-v2",
        *(f"    [*] --> {state.value}" for state in STARTS),
        *(f"    {old.value} --> {new.value}" for old, new, _ in ways),
        *(f"    {state.value} --> [*]" for state in StepState if not TRANSITIONS[state]),
    ]
    return f"{table}\n```mermaid\n" + "\n".join(lines) + "\n```\n"


def _api() -> str:
    rows = []
    for method, route in sorted(routes(), key=lambda found: (found[1].path, found[0])):
        roles = roles_of(route)
        if roles is None:
            marks = ["set-up" if route.path.startswith("/v1/setup") else "✓"] * len(_ROLES)
        else:
            marks = ["✓" if role in roles else "—" for role in _ROLES]
        rows.append((f"`{method} {route.path}`", route.summary or "", *marks))
    heads = ("call", "what it does", *(role.value for role in _ROLES))
    return _page("API calls and who may make them", heads, rows)


def _demand(approval: Approval) -> str:
    if isinstance(approval, PreAuthorised):
        return f"none before; confirmed within {_words(approval.confirm_within)}"
    return " and ".join(f"{group.count} x {group.role.value}" for group in approval.groups)


def _words(time: timedelta) -> str:
    minutes = int(time.total_seconds()) // 60
    return f"{minutes // 60} h" if minutes % 60 == 0 else f"{minutes} min"


def _page(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    return f"{_NOTE}# {title}\n\n{_table(heads, rows)}"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    lines += [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join(lines) + "\n"
