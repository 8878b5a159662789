"""``portcullis rules``: check, test, explain, compare and list the detectors, without a database or a service.

Exit codes: 0 all well, 1 a detector does not conform (or, where asked, a change loosens), 2 a file cannot be used.
``--json`` prints one JSON document. Errors name the file, the field and what to do.
"""

import json
from datetime import UTC, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from rules.errors import DetectorFileError

if TYPE_CHECKING:
    from rules.conformance import Failure
    from rules.loader import DetectorSet

_FAILED: Final = 1
_UNUSABLE: Final = 2
_MICROSECONDS: Final = 1_000_000
_NEAR: Final = 5
"""How many ids are offered in place of one that no detector has."""

app = typer.Typer(name="rules", help="Check, test, explain, compare and list the detectors.", no_args_is_help=True)

Directory = Annotated[
    Path | None,
    typer.Option("--directory", "-d", help="Folder of *.yaml detector files; those that ship if not given."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of text.")]


def _load(directory: Path | None, *, as_json: bool) -> "DetectorSet":
    """The set of a directory; tells every file that cannot be used, not the first alone, and ends with 2."""
    from rules.loader import DEFAULT_DIRECTORY, survey  # noqa: PLC0415  CEL and YAML load only when a command runs

    found, broken = survey(directory or DEFAULT_DIRECTORY)
    if broken:
        _refuse(broken, as_json=as_json)
    return found


def _refuse(broken: list[DetectorFileError], *, as_json: bool) -> None:
    from rules.tables import broken_rows, plain  # noqa: PLC0415  as above

    if as_json:
        typer.echo(json.dumps({"ok": False, "errors": broken_rows(broken)}, indent=2))
    for one in [] if as_json else broken:
        typer.secho(f"error: {plain(one)}", fg="red", err=True)
    raise typer.Exit(_UNUSABLE)


def _report(
    detectors: "DetectorSet", failures: "list[Failure]", noted: "list[Failure]", done: str, *, as_json: bool
) -> None:
    from rules.tables import console, failure_rows, plain, table  # noqa: PLC0415  as above

    if as_json:
        document = {"ok": not failures, "digest": detectors.digest(), "failures": failure_rows(failures)}
        typer.echo(json.dumps(document | {"warnings": failure_rows(noted)}, indent=2))
    else:
        for one in noted:
            typer.secho(f"warning: {one.detector}.yaml: {plain(one.problem)}", fg="yellow", err=True)
        if failures:
            rows = [(one.detector, one.case, one.problem) for one in failures]
            console().print(table("Failures", ("detector", "case", "problem"), rows))
        colour = "red" if failures else "green"
        typer.secho(f"{len(detectors)} detectors, {done}, {len(failures)} failures", fg=colour)
    if failures:
        raise typer.Exit(_FAILED)


@app.command(epilog="Example: portcullis rules lint --directory my-rules --root .")
def lint(
    directory: Directory = None,
    root: Annotated[Path | None, typer.Option(help="Also check that each runbook exists under this folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Load every file: fields, features, expressions, kinds, exceptions, techniques, runbooks."""
    from rules.conformance import missing_runbooks, warnings  # noqa: PLC0415  as above

    detectors = _load(directory, as_json=as_json)
    noted = warnings(detectors, datetime.now(UTC).timestamp() * _MICROSECONDS)
    failures = missing_runbooks(detectors, root) if root else []
    _report(detectors, failures, noted, f"all files load, {len(noted)} warnings", as_json=as_json)


@app.command(name="test", epilog="Example: portcullis rules test --json")
def run_cases(directory: Directory = None, as_json: AsJson = False) -> None:
    """Run the cases that every detector carries, and look for values where a rule holds without its guard."""
    from rules.conformance import check  # noqa: PLC0415  as above

    detectors = _load(directory, as_json=as_json)
    cases = sum(len(detector.declaration.cases) for detector in detectors)
    _report(detectors, check(detectors), [], f"{cases} cases", as_json=as_json)


@app.command(name="list", epilog="Example: portcullis rules list --json | jq '.detectors[].id'")
def list_detectors(directory: Directory = None, as_json: AsJson = False) -> None:
    """List the detectors with status, severity, decision and title."""
    from rules.tables import console, detector_row, list_table  # noqa: PLC0415  as above

    detectors = _load(directory, as_json=as_json)
    declared = [detector.declaration for detector in detectors]
    if as_json:
        rows = [detector_row(one) for one in declared]
        typer.echo(json.dumps({"digest": detectors.digest(), "detectors": rows}, indent=2))
        return
    console().print(list_table(declared))


@app.command(epilog="Example: portcullis rules explain drain-fan-in")
def explain(
    detector: Annotated[str, typer.Argument(help="Id of the detector, as `portcullis rules list` shows it.")],
    directory: Directory = None,
    as_json: AsJson = False,
) -> None:
    """Show one detector whole: what it reads, guard, expression, cases, techniques, exceptions, runbook."""
    from rules.tables import explained, print_explained  # noqa: PLC0415  as above

    detectors = _load(directory, as_json=as_json)
    found = detectors.find(detector)
    if found is None:
        ids = [one.id for one in detectors]
        near = [one for one in ids if detector.lower() in one] or get_close_matches(detector, ids)
        advice = f"did you mean {' or '.join(near[:_NEAR])}?" if near else "`portcullis rules list` shows all"
        problem = f"no detector of this id; {advice}"
        _refuse([DetectorFileError(f"{detector}.yaml", "id", problem)], as_json=as_json)
    elif as_json:
        typer.echo(json.dumps(explained(found), indent=2))
    else:
        print_explained(found)


@app.command(epilog="Example: portcullis rules diff rules/detectors my-rules --fail-on-loosening")
def diff(
    old: Annotated[Path, typer.Argument(help="Folder of the set in force.")],
    new: Annotated[Path, typer.Argument(help="Folder of the set that shall replace it.")],
    fail_on_loosening: Annotated[
        bool, typer.Option("--fail-on-loosening", help="End with 1 when a change loosens.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare two sets: each change is tightening, loosening or neutral. A loosening one waits for a quorum."""
    from rules.comparison import compare  # noqa: PLC0415  as above
    from rules.tables import compared, print_compared  # noqa: PLC0415  as above

    found = compare(_load(old, as_json=as_json), _load(new, as_json=as_json))
    if as_json:
        typer.echo(json.dumps(compared(found), indent=2))
    else:
        print_compared(found)
    if found.loosens and fail_on_loosening:
        raise typer.Exit(_FAILED)
