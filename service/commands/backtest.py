"""`portcullis backtest`: score recorded events as the live engine would have, without a service, a database or a token.

Rules: results go to standard output and can be parsed (`--json`), progress and remarks to standard error; a run that fails
or is interrupted leaves no half file; nothing heavy is imported before there is work to do.
"""

import inspect
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final, get_type_hints

import typer

from service.domain.errors import ConfigurationError, InputError, PortcullisError
from service.domain.secrets import Secret

if TYPE_CHECKING:
    from rules.backtest.parallel import Hands
    from rules.backtest.runner import Findings, Progress, Request

_ONE_MACHINE: Final = 8


class StoppedError(PortcullisError):
    """Ctrl-C; what was begun is removed."""

    code: ClassVar[str] = "interrupted"


@dataclass(frozen=True)
class Asked:
    """The command line, each option once."""

    events: Annotated[
        Path, typer.Option("--input", help="EVENTS: .parquet, .ndjson or .csv, ascending by occurred_at.")
    ]
    scores: Annotated[Path, typer.Option("--output", help="SCORES to write: .parquet, .ndjson or .csv.")]
    verdicts: Annotated[
        Path | None, typer.Option(help="VERDICTS: event_id, verdict, known_at; each is used from known_at on.")
    ] = None
    budget_per_day: Annotated[
        float | None, typer.Option(min=0.01, max=1e6, help="How many alerts a day somebody can look at.")
    ] = None
    rules: Annotated[
        Path | None, typer.Option(help="Folder of a candidate rule set, tried beside the one in force.")
    ] = None
    in_force: Annotated[
        Path | None, typer.Option(help="Folder of the rule set in force; by default the shipped one.")
    ] = None
    lists: Annotated[
        list[Path] | None, typer.Option(help="An address list, as if it had been in force; may be given several times.")
    ] = None
    list_kind: Annotated[
        str, typer.Option(help="What plain lists' addresses are: sanctioned, thief, scam, mixer …")
    ] = "sanctioned"
    settings: Annotated[
        Path | None, typer.Option(help="Engine settings as JSON; what is not named keeps its default.")
    ] = None
    report: Annotated[Path | None, typer.Option(help="Also write a report: one HTML file with its plots.")] = None
    processes: Annotated[int, typer.Option(min=0, max=256, help="Processes of this machine; 0: as it has cores.")] = 0
    celery: Annotated[
        str | None,
        typer.Option(envvar="PORTCULLIS_BACKTEST_BROKER", help="Redis URL of a broker with workers on other machines."),
    ] = None
    celery_folder: Annotated[
        Path | None,
        typer.Option(envvar="PORTCULLIS_BACKTEST_FOLDER", help="Folder that those workers share with this machine."),
    ] = None
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")] = False


def options(run: Callable[[Asked], None]) -> Callable[..., None]:
    """The function as a command whose options are the fields of :class:`Asked`."""

    def command(**given: Any) -> None:
        run(Asked(**given))

    hints = get_type_hints(Asked, include_extras=True)
    command.__doc__ = run.__doc__
    command.__name__ = run.__name__
    command.__annotations__ = {field.name: hints[field.name] for field in fields(Asked)}
    command.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # what inspect.signature looks for first
        [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=inspect.Parameter.empty if field.default is MISSING else field.default,
                annotation=hints[field.name],
            )
            for field in fields(Asked)
        ]
    )
    return command


@options
def backtest(asked: Asked) -> None:
    """Score recorded events as the live engine would have: causally, with the same kernel, bit for bit.

    Needs no server. SCORES has one row for each event: score, p_value, decision, history, reasons.

    For example:
    portcullis backtest --input events.parquet --output scores.parquet --budget-per-day 5

    portcullis backtest --input events.csv --output scores.csv --verdicts verdicts.csv --report report.html

    portcullis backtest --input events.parquet --output scores.parquet --verdicts verdicts.parquet --rules my-rules/

    """
    from rules.errors import RulesError  # noqa: PLC0415  --help must not pay for the engine

    began = time.perf_counter()
    try:
        findings = _run(asked)
    except RulesError as error:
        kind = ConfigurationError if error.code.startswith(("rules.detector_file", "rules.list")) else InputError
        raise kind(str(error)) from error
    except KeyboardInterrupt:
        raise StoppedError("stopped; nothing was written") from None
    _tell(asked, findings, time.perf_counter() - began)


def _run(asked: Asked) -> "Findings":
    from rules.backtest.runner import Backtest  # noqa: PLC0415  as above
    from rules.engine import Engine  # noqa: PLC0415  as above

    with _hands(asked) as workers, _progress(asked) as progress:
        run = Backtest(_request(asked), Engine, workers, progress)
        return run.run()


def _request(asked: Asked) -> "Request":
    import msgspec  # noqa: PLC0415  as above

    from rules.backtest.runner import Request  # noqa: PLC0415  as above
    from rules.loader import DEFAULT_DIRECTORY, load_directory  # noqa: PLC0415  as above
    from rules.settings import EngineSettings  # noqa: PLC0415  as above

    settings = EngineSettings()
    if asked.settings is not None:
        try:
            settings = msgspec.json.decode(asked.settings.read_bytes(), type=EngineSettings)
        except OSError as error:
            raise InputError(f"{asked.settings} cannot be read: {error.strerror}") from error
        except msgspec.DecodeError as error:
            raise InputError(f"{asked.settings}: {error}") from error
    if asked.budget_per_day is not None:
        settings = msgspec.structs.replace(settings, alerts_per_day=asked.budget_per_day)
    return Request(
        events=asked.events,
        scores=asked.scores,
        settings=settings,
        in_force=load_directory(asked.in_force or DEFAULT_DIRECTORY),
        candidate=load_directory(asked.rules) if asked.rules else None,
        verdicts=asked.verdicts,
        level=_level(asked.lists, asked.list_kind) if asked.lists else None,
    )


def _level(files: Sequence[Path], kind: str) -> Callable[[str], int | None]:
    """What the lists in these files say of a destination. Raises InputError naming the file."""
    from service.domain.forensics.labels import MAX_BYTES, LabelKind, read_list  # noqa: PLC0415  as above
    from service.domain.listed import Labelled, Listings  # noqa: PLC0415  as above

    if kind not in set(LabelKind):
        raise InputError(f"{kind!r} is no kind of label: {', '.join(LabelKind)}", field="list_kind")
    found = Listings()
    for file in files:
        try:
            with file.open("rb") as opened:
                labels = read_list(opened.read(MAX_BYTES + 1), file.name, LabelKind(kind)).labels
        except OSError as error:
            raise InputError(f"{file} cannot be read: {error.strerror}", field="lists") from error
        except InputError as error:
            raise InputError(f"{file}: {error}", field="lists") from error
        found.add(Labelled(one.address, one.kind, "", file.name, one.name) for one in labels)
    return found.level


@contextmanager
def _hands(asked: Asked) -> "Iterator[Hands]":
    from rules.backtest.parallel import hands  # noqa: PLC0415  as above

    if asked.celery is None:
        with hands(asked.processes or min(_ONE_MACHINE, os.cpu_count() or 1)) as workers:
            yield workers
        return
    if asked.celery_folder is None:
        raise InputError("--celery needs --celery-folder: a folder that this machine and the workers share")
    from service.commands.backtest_workers import celery_hands  # noqa: PLC0415  only who asks for Celery pays for it

    with celery_hands(Secret(asked.celery), asked.celery_folder, lambda text: typer.echo(text, err=True)) as workers:
        yield workers


@contextmanager
def _progress(asked: Asked) -> "Iterator[Progress]":
    from rich.console import Console  # noqa: PLC0415  as above
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415  as above

    from rules.backtest.blocks import open_source  # noqa: PLC0415  as above
    from rules.backtest.schema import EVENTS, REQUIRED  # noqa: PLC0415  as above

    rows = open_source(asked.events, EVENTS, REQUIRED).rows
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TextColumn("events"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), disable=not Console(stderr=True).is_terminal) as bar:
        task = bar.add_task("scoring", total=rows)
        yield lambda count: bar.advance(task, count)


def _tell(asked: Asked, findings: "Findings", seconds: float) -> None:
    import msgspec  # noqa: PLC0415  as above

    from rules.backtest.summary import summarise  # noqa: PLC0415  as above

    summary = summarise(findings, asked.budget_per_day)
    if asked.report is not None:
        from rules.backtest.report import write_report  # noqa: PLC0415  only who asks for a report pays for plots

        write_report(asked.report, findings, summary, f"Back-test of {asked.events.name}")
    if asked.as_json:
        told = {**msgspec.to_builtins(summary), "seconds": round(seconds, 3)}
        typer.echo(msgspec.json.encode(told).decode())
    else:
        from service.commands.backtest_tables import print_summary  # noqa: PLC0415  as above

        print_summary(summary, asked.scores, seconds)
