"""`portcullis audit verify`: hash the whole audit log again and say whether anything was changed.

Rules: it reads the database itself, with whatever role it is given, and asks no process of ours. The report goes to
standard output, progress to standard error; a fault ends non-zero.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Annotated, ClassVar

import typer

from service.commands.place import reading
from service.domain.errors import PortcullisError

app = typer.Typer(name="audit", help="Check the audit log.", no_args_is_help=True)


class AuditFaultError(PortcullisError):
    """The audit log is not what was written."""

    code: ClassVar[str] = "audit_fault"


@app.callback()
def audit() -> None:
    """Check the audit log."""


@app.command()
def verify(as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False) -> None:
    """Hash every entry again and compare it with the tree, its roots and the personal fields beside it.

    Reads PORTCULLIS_DATABASE_URL, or what `portcullis up` wrote for the schedule. Ends with 1 when something differs.
    What it cannot see is a log cut back together with its tree: compare the root with one that you kept elsewhere.

    Example: `portcullis audit verify`
    """
    from service.clock import SystemClock  # noqa: PLC0415  --help must not pay for the database driver
    from service.store import audit as log  # noqa: PLC0415  as above

    with reading("the audit log") as connection, _progress() as told:
        report = log.verify(connection, SystemClock().now(), told)
    if as_json:
        typer.echo(json.dumps({**asdict(report), "holds": not report.faults}))
    else:
        typer.echo(
            f"{report.size} entries, {report.heads} written-down roots, {report.personal} personal fields compared; "
            f"{report.waiting} entries wait for their place\nroot {report.root}"
        )
        for fault in report.faults:
            typer.secho(fault, fg="red")
        if not report.faults:
            typer.secho("The log is what was written.", fg="green")
    if report.faults:
        raise AuditFaultError("faults were found: keep a copy of the database before anybody repairs it")


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console  # noqa: PLC0415  as above
    from rich.progress import Progress  # noqa: PLC0415  as above

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("hashing the log", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
