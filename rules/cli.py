"""``portcullis rules``: check, test and list the detectors, without a database or a service.

Exit codes: 0 all well, 1 a detector does not conform, 2 a file cannot be read. ``--json`` prints one JSON document.
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from rules.conformance import Failure, check, missing_runbooks
from rules.errors import RulesError
from rules.loader import DEFAULT_DIRECTORY, DetectorSet, load_directory

app = typer.Typer(name="rules", help="Check, test and list the detectors.", no_args_is_help=True)

Directory = Annotated[Path, typer.Option("--directory", "-d", help="Folder of *.yaml detector files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def _load(directory: Path, *, as_json: bool) -> DetectorSet:
    try:
        return load_directory(directory)
    except RulesError as error:
        _say({"ok": False, "code": error.code, "error": str(error)}, [f"error: {error}"], as_json=as_json)
        raise typer.Exit(2) from error


def _say(document: dict[str, object], lines: list[str], *, as_json: bool) -> None:
    typer.echo(json.dumps(document, indent=2) if as_json else "\n".join(lines))


def _report(detectors: DetectorSet, failures: list[Failure], done: str, *, as_json: bool) -> None:
    listed = [{"detector": one.detector, "case": one.case, "problem": one.problem} for one in failures]
    lines = [f"{one.detector}: {one.case + ': ' if one.case else ''}{one.problem}" for one in failures]
    lines.append(f"{len(detectors)} detectors, {done}, {len(failures)} failures")
    document: dict[str, object] = {"ok": not failures, "digest": detectors.digest(), "failures": listed}
    _say(document, lines, as_json=as_json)
    if failures:
        raise typer.Exit(1)


@app.command(epilog="Example: portcullis rules lint --directory rules/detectors --root .")
def lint(
    directory: Directory = DEFAULT_DIRECTORY,
    root: Annotated[Path | None, typer.Option(help="Also check that each runbook exists under this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Load every file: fields, features, expressions, unique ids, runbooks."""
    detectors = _load(directory, as_json=as_json)
    failures = missing_runbooks(detectors, root) if root else []
    _report(detectors, failures, "all files load", as_json=as_json)


@app.command(name="test", epilog="Example: portcullis rules test --json")
def run_cases(directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """Run the cases that every detector carries."""
    detectors = _load(directory, as_json=as_json)
    cases = sum(len(detector.declaration.cases) for detector in detectors)
    _report(detectors, check(detectors), f"{cases} cases", as_json=as_json)


@app.command(name="list", epilog="Example: portcullis rules list --json | jq '.detectors[].id'")
def list_detectors(directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """List the detectors with status, severity, decision and title."""
    detectors = _load(directory, as_json=as_json)
    declared = [detector.declaration for detector in detectors]
    rows: list[object] = [
        {
            "id": one.id,
            "version": one.version,
            "status": one.status.value,
            "severity": one.severity.value,
            "decision": one.decision,
            "playbook": one.playbook,
            "title": one.title,
        }
        for one in declared
    ]
    lines = [
        f"{one.id:32} {one.status.value:8} {one.severity.value:9} {one.decision:6} {one.title}" for one in declared
    ]
    _say({"digest": detectors.digest(), "detectors": rows}, lines, as_json=as_json)
