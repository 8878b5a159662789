"""`portcullis replay`: rebuild the baselines from the learning sequence alone, and hold them against the stored ones.

Rules: everything is read from one moment of the database (REPEATABLE READ), so that intake may go on meanwhile; only the
sequence is replayed, no clock, no file. The stored baselines are a snapshot at one sequence number: they are compared there,
and the rows since are applied and counted. `--scores` has every activity scored again (`rescoring.py`). The report goes to
standard output; a difference ends non-zero.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, ClassVar, Final

import typer

from service.commands.place import reading
from service.domain.errors import ConfigurationError, PortcullisError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from rules.engine import Engine
    from rules.learning import LearningRecord
    from service.commands.rescoring import Scores

SHOWN: Final = 20


class BaselineDifferenceError(PortcullisError):
    """The stored baselines are not what the sequence gives."""

    code: ClassVar[str] = "baselines_differ"


class ScoreDifferenceError(PortcullisError):
    """A stored score is not what the sequence gives."""

    code: ClassVar[str] = "scores_differ"


@dataclass(slots=True)
class Report:
    """What a replay found."""

    rows: int = 0
    sequence: int = 0
    snapshot: int = 0
    """The sequence number at which the stored baselines stand."""
    newer: int = 0
    """Rows since then, which a start applies to them."""
    baselines: int = 0
    seconds: float = 0.0
    differences: tuple[str, ...] | None = None
    """None when nothing was compared."""
    scores: "Scores | None" = None
    """None when nothing was scored again."""


def replay(
    verify: Annotated[bool, typer.Option("--verify", help="Compare with the stored baselines, byte for byte.")] = False,
    scores: Annotated[
        bool, typer.Option("--scores", help="Score every activity again and compare, bit for bit.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of sentences.")] = False,
) -> None:
    """Rebuild the engine's baselines from the learning sequence.

    Reads PORTCULLIS_DATABASE_URL, or what `portcullis up` wrote for the schedule. Ends with 1 when something differs.

    Example: `portcullis replay --verify --scores`
    """
    from rules.errors import RulesError  # noqa: PLC0415  --help must not pay for the engine
    from service.commands.rescoring import scored_again  # noqa: PLC0415  as above

    try:
        with reading("the sequence") as connection:
            report = replayed(connection, verify=verify)
            if scores:
                report.scores = scored_again(connection)
    except RulesError as error:
        raise ConfigurationError(f"the sequence cannot be replayed: {error}") from error
    _tell(report, as_json=as_json)


def replayed(connection: "Connection", *, verify: bool) -> Report:
    """Replay what the connection's snapshot holds. Raises RulesError for a row that this version cannot apply."""
    from rules.loader import DetectorSet  # noqa: PLC0415  as above
    from rules.replay import compare  # noqa: PLC0415  as above
    from rules.replay import replay as replay_rows  # noqa: PLC0415  as above
    from rules.settings import EngineSettings  # noqa: PLC0415  as above
    from service.store import learning  # noqa: PLC0415  as above

    report = Report(snapshot=learning.snapshot_at(connection))
    began = time.perf_counter()

    def counted(*, after: int = 0, up_to: int | None = None) -> "Iterator[LearningRecord]":
        for row in learning.records(connection, after=after, up_to=up_to):
            report.rows += 1
            report.newer += row.seq > report.snapshot
            yield row

    # The settings in force are rows of the sequence, and rules only decide operations, which are recorded.
    engine = replay_rows(counted(up_to=report.snapshot), EngineSettings(), DetectorSet((), ""))
    if verify:
        stored = learning.stored_baselines(connection)
        if report.snapshot:
            found = [_sentence(d.kind, d.entity, d.problem, d.at_byte) for d in compare(engine, stored)]
        else:
            found = [f"{change.entity}: stored, but no snapshot was" for change in stored]
        if engine.sequence != report.snapshot:
            found.append(f"a snapshot at {report.snapshot} is stored, but the sequence ends at {engine.sequence}")
        report.differences = tuple(found)
    for row in counted(after=report.snapshot):
        _apply(engine, row)
    report.sequence = engine.sequence
    report.baselines = sum(1 for _ in engine.snapshot()) if report.rows else 0
    report.seconds = time.perf_counter() - began
    return report


def _apply(engine: "Engine", row: "LearningRecord") -> None:
    from rules.engine import ENGINE_VERSION  # noqa: PLC0415  as above
    from rules.errors import LearningRecordError  # noqa: PLC0415  as above

    if row.engine_version != ENGINE_VERSION:
        raise LearningRecordError(f"row {row.seq} was written by engine {row.engine_version}, this is {ENGINE_VERSION}")
    engine.apply(row)


def _sentence(kind: int, entity: str, problem: str, at_byte: int) -> str:
    place = f" from byte {at_byte}" if at_byte >= 0 else ""
    return f"record {entity} of kind {kind}: {problem}{place}"


def _tell(report: Report, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_as_document(report)))
    else:
        typer.echo(f"{report.rows} rows give {report.baselines} baselines in {report.seconds:.2f} s")
        _tell_baselines(report)
        _tell_scores(report)
    if report.differences:
        raise BaselineDifferenceError(
            f"{len(report.differences)} baselines differ: keep a copy of the database before anybody repairs it"
        )
    if report.scores is not None and report.scores.differing:
        raise ScoreDifferenceError(
            f"{report.scores.differing} stored scores differ: keep a copy of the database before anybody repairs it"
        )


def _tell_baselines(report: Report) -> None:
    for difference in (report.differences or ())[:SHOWN]:
        typer.secho(difference, fg="red")
    if report.differences == () and not report.snapshot:
        typer.echo("No snapshot of the baselines is stored yet: there was nothing to compare.")
    elif report.differences == ():
        at = f"of sequence number {report.snapshot}"
        typer.secho(f"The stored baselines, {at}, are equal, byte for byte; {report.newer} rows are newer.", fg="green")


def _tell_scores(report: Report) -> None:
    found = report.scores
    if found is None:
        return
    for sentence in found.sentences[:SHOWN]:
        typer.secho(sentence, fg="red")
    if not found.compared:
        typer.echo("No score is stored yet: there was nothing to compare.")
    elif not found.differing:
        typer.secho(f"{found.compared} activities scored again: every score and its reasons are the same.", fg="green")


def _as_document(report: Report) -> dict[str, object]:
    told: dict[str, object] = {
        "rows": report.rows,
        "sequence": report.sequence,
        "snapshot": report.snapshot,
        "newer_rows": report.newer,
        "baselines": report.baselines,
        "seconds": round(report.seconds, 3),
        "verified": report.differences is not None,
        "differences": list(report.differences or ()),
    }
    scores = report.scores
    if scores is not None:
        told["scores"] = {
            "compared": scores.compared,
            "silent": scores.silent,
            "differing": scores.differing,
            "differences": scores.sentences,
        }
    return told
