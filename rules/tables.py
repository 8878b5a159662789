"""What ``portcullis rules`` prints: tables for people, plain dictionaries for programs.

Rules enforced here: texts of files are text and never markup, and their control characters are shown as U+FFFD; without a
terminal a table is wide enough to be searched line by line.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rules.comparison import Comparison, Direction
from rules.conformance import Failure
from rules.declaration import Declaration
from rules.detector import Detector
from rules.errors import DetectorFileError
from rules.expression import SURPRISE, TEXTS
from rules.techniques import address_of, is_technique, name_of

_WIDTH_WITHOUT_TERMINAL: Final = 200
_COLOURS: Final = {
    Direction.LOOSENING.value: "bold red",
    Direction.TIGHTENING.value: "green",
    "critical": "bold red",
    "high": "red",
    "medium": "yellow",
    "hold": "bold red",
    "fires": "red",
}


def console() -> Console:
    """The console that results go to."""
    found = Console(markup=False, highlight=False)
    return found if found.is_terminal else Console(width=_WIDTH_WITHOUT_TERMINAL, markup=False, highlight=False)


def plain(value: object) -> str:
    """A value as text that a terminal shows as it is."""
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in str(value))


def table(title: str, heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Table:
    """A table of texts; words of weight are coloured."""
    made = Table(*heads, title=Text(plain(title)), title_justify="left")
    for row in rows:
        cells = [plain(cell) for cell in row]
        made.add_row(*(Text(cell, style=_COLOURS.get(cell, "")) for cell in cells))
    return made


def broken_rows(errors: Sequence[DetectorFileError]) -> list[dict[str, object]]:
    """Each refused file with its field and what to do."""
    return [{"file": one.file, "field": one.field, "problem": one.problem, "code": one.code} for one in errors]


def failure_rows(failures: Sequence[Failure]) -> list[dict[str, object]]:
    """Each failure of a detector."""
    return [msgspec.to_builtins(one) for one in failures]


def detector_row(declared: Declaration) -> dict[str, object]:
    """One line of the list."""
    return {
        "id": declared.id,
        "version": declared.version,
        "status": declared.standing,
        "severity": declared.severity.value,
        "decision": declared.decision,
        "playbook": declared.playbook,
        "exceptions": len(declared.exceptions),
        "tags": list(declared.tags),
        "title": declared.title,
    }


def list_table(declared: Sequence[Declaration]) -> Table:
    """The list of detectors."""
    heads = ("detector", "status", "severity", "decision", "exceptions", "what it says")
    rows = [
        (one.id, one.standing, one.severity.value, one.decision, len(one.exceptions) or "", one.title)
        for one in declared
    ]
    return table(f"{len(declared)} detectors", heads, rows)


def techniques_of(declared: Declaration) -> list[dict[str, object]]:
    """The techniques among a detector's tags."""
    return [{"id": tag, "name": name_of(tag), "address": address_of(tag)} for tag in declared.tags if is_technique(tag)]


def features_of(detector: Detector) -> list[dict[str, object]]:
    """What a detector reads: each feature with its unit, where it comes from and when it cannot be told."""
    from rules.features.catalogue import BY_NAME  # noqa: PLC0415  loads the compiler, which other commands do not need

    guard = detector.declaration.guard.feature
    names = dict.fromkeys(name for name in (guard, *detector.expression.names) if name not in TEXTS)
    found: list[dict[str, object]] = []
    for name in names:
        feature = BY_NAME[name.removesuffix(SURPRISE)]
        surprising = name != feature.name
        unit = f"-log10 of how rare {feature.name} is (3 = one in a thousand)" if surprising else feature.unit
        found.append({"name": name, "unit": unit, "reads": feature.reads, "null_when": feature.null_when})
    return found


def explained(detector: Detector) -> dict[str, object]:
    """Everything about one detector, for programs."""
    declared = detector.declaration
    cases = [msgspec.to_builtins(case) for case in declared.cases]
    return detector_row(declared) | {
        "kinds": list(declared.kinds),
        "reads": features_of(detector),
        "guard": str(declared.guard),
        "expr": declared.expr,
        "cases": cases,
        "techniques": techniques_of(declared),
        "exceptions": [msgspec.to_builtins(one) for one in declared.exceptions],
        "runbook": declared.runbook,
    }


def print_explained(detector: Detector) -> None:
    """Everything about one detector, for people."""
    out, declared = console(), detector.declaration
    out.print(Text(plain(declared.title), style="bold"))
    facts = (
        ("detector", f"{declared.id}, version {declared.version}"),
        ("status", declared.standing),
        ("finding", f"{declared.severity.value}, {declared.decision}, playbook {declared.playbook}"),
        ("kinds", ", ".join(declared.kinds)),
        ("guard", str(declared.guard)),
        ("expression", declared.expr.replace(" && ", "\n  && ")),
        ("techniques", "\n".join(f"{one['id']}  {one['name']}  {one['address']}" for one in techniques_of(declared))),
        ("other tags", ", ".join(tag for tag in declared.tags if not is_technique(tag))),
        ("exceptions", "\n".join(str(one) for one in declared.exceptions)),
        ("runbook", declared.runbook),
    )
    grid = Table.grid(padding=(0, 2))
    for name, value in facts:
        if value:
            grid.add_row(Text(name, style="dim"), Text(plain(value)))
    out.print(grid)
    heads = ("reads", "unit", "from", "cannot be told when")
    rows = [(one["name"], one["unit"], one["reads"], one["null_when"]) for one in features_of(detector)]
    out.print(table("What it reads", heads, rows))
    cases = [(case.expect, case.history, case.kind, case.name, _features(case.features)) for case in declared.cases]
    out.print(table("Cases", ("expect", "history", "kind", "case", "features"), cases))


def _features(features: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in features.items())


def compared(found: Comparison) -> dict[str, object]:
    """A comparison, for programs."""
    return {
        "loosens": found.loosens,
        "digest": found.digest,
        "old_digest": found.old_digest,
        "new_digest": found.new_digest,
        "changes": [msgspec.to_builtins(change) for change in found.changes],
    }


def print_compared(found: Comparison) -> None:
    """A comparison, for people."""
    out = console()
    heads = ("", "detector", "field", "old", "new")
    rows = [(change.direction.value, change.detector, change.field, change.old, change.new) for change in found.changes]
    if rows:
        out.print(table(f"{len(rows)} changes", heads, rows))
    else:
        out.print("Nothing changed.")
    if found.loosens:
        out.print(Text("This loosens: a quorum must approve it before it is used.", style="bold red"))
    else:
        out.print(Text("Nothing loosens: it may be used at once.", style="green"))
    out.print(f"digest {found.digest}")
