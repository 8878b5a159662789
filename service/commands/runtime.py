"""`portcullis up | run | down | status | doctor`: bring an installation up, look at it, stop it.

Rules enforced here: results go to standard output and can be parsed (`--json`), everything else to standard error.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table
from rich.text import Text

from service.commands.client import fetch
from service.commands.printing import Json, console, plain
from service.domain.errors import PortcullisError
from service.runtime.layout import Layout, layout_of
from service.runtime.memory import API_LIMIT_MB, TOTAL_LIMIT_MB

DEFAULT_PORT: Final = 8420
HOME_VARIABLE: Final = "PORTCULLIS_HOME"


def layout() -> Layout:
    """Return the layout of PORTCULLIS_HOME, by default `.portcullis` in the current folder."""
    return layout_of(Path(os.environ.get(HOME_VARIABLE) or ".portcullis"))


def up(
    host: Annotated[
        str, typer.Option(envvar="PORTCULLIS_LISTEN_HOST", help="Address the API listens on.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(envvar="PORTCULLIS_LISTEN_PORT", min=0, max=65535, help="Its port; 0 takes a free one.")
    ] = DEFAULT_PORT,
    only_prepare: Annotated[
        bool, typer.Option("--only-prepare", help="Make tokens, migrate and write env/, then end: for containers.")
    ] = False,
) -> None:
    """Start everything here and stay until Ctrl-C.

    Starts PostgreSQL, a Redis-protocol server and SoftHSM2 tokens below ./.portcullis unless PORTCULLIS_DATABASE_URL,
    PORTCULLIS_REDIS_URL or PORTCULLIS_<POWER>_URI point at your own.

    Example: `portcullis up --port 9000`
    """
    from service.runtime.up import Listen, run_up  # noqa: PLC0415  --help must not pay for the database driver

    run_up(layout(), Listen(host, port), typer.echo, only_prepare=only_prepare)


def run(name: Annotated[str, typer.Argument(help="authority, containment, keys, schedule or api.")]) -> None:
    """Run one process in the foreground with the settings of `up --only-prepare`, for containers and systemd.

    Example: `portcullis run api`
    """
    from service.runtime.run import become  # noqa: PLC0415  as in `up`

    become(layout(), name)


def down() -> None:
    """Stop the `portcullis up` of this folder cleanly and wait until it has ended.

    Example: `portcullis down`
    """
    from service.runtime.status import take_down  # noqa: PLC0415  as in `up`

    take_down(layout())
    typer.echo("stopped")


def status(as_json: Json = False) -> None:
    """Show what runs, where, how much memory it takes (PSS, children included), and how the engine is.

    The engine is asked over the API at PORTCULLIS_API_URL, with the token of PORTCULLIS_API_TOKEN.

    Example: `portcullis status --json`
    """
    from service.runtime.status import read_status  # noqa: PLC0415  as in `up`

    found = read_status(layout())
    engine, why_not = _engine()
    if as_json:
        typer.echo(json.dumps(found.as_document() | {"engine": engine, "engine_not_told": why_not}, indent=1))
        return
    table = Table("process", "pid", "state", "restarts", "PSS MB", "address", title=Text(found.home))
    for part in found.parts:
        memory = "cannot tell" if part.pss_mb is None else f"{part.pss_mb:.1f}"
        pid = "" if part.pid is None else str(part.pid)
        table.add_row(part.name, pid, part.state, str(part.restarts), memory, part.address)
    table.add_section()
    bound = "" if found.complete else "at least "
    table.add_row(
        "total", "", "", "", f"{bound}{found.total_pss_mb:.1f}", f"limit {TOTAL_LIMIT_MB:.0f}, API {API_LIMIT_MB:.0f}"
    )
    out = console()
    out.print(table)
    out.print(_engine_table(engine) if engine else f"engine: {why_not}")
    for sentence in found.over_limit:
        typer.echo(sentence, err=True)


def doctor(as_json: Json = False) -> None:
    """Check every part and say what to do about what is wrong; ends non-zero when something is.

    Example: `portcullis doctor`
    """
    from dataclasses import asdict  # noqa: PLC0415  as in `up`

    from service.runtime.doctor import Outcome, examine  # noqa: PLC0415  as in `up`
    from service.runtime.errors import ChecksFailedError  # noqa: PLC0415  as in `up`

    checks = list(examine(layout()))
    if as_json:
        typer.echo(json.dumps([asdict(check) | {"outcome": check.outcome.value} for check in checks], indent=1))
    else:
        styles = {Outcome.OK: "green", Outcome.WRONG: "bold red", Outcome.CANNOT_TELL: "yellow"}
        table = Table("check", "", "found", "what to do")
        for check in checks:
            told = (Text(plain(one)) for one in (check.found, check.advice))
            table.add_row(check.name, Text(check.outcome.value, style=styles[check.outcome]), *told)
        console().print(table)
    wrong = [check.name for check in checks if check.outcome is Outcome.WRONG]
    if wrong:
        raise ChecksFailedError(f"wrong: {', '.join(wrong)}")


def _engine() -> tuple[dict[str, Any] | None, str | None]:
    """Return what the API tells of its engine, or why that cannot be told."""
    try:
        told = fetch("/v1/health/details")
    except PortcullisError as error:
        return None, str(error)
    if told.get("sequence") is None:
        return None, "it is being built, or the API runs without one"
    return {name: told[name] for name in ("sequence", "rows_behind", "calibrations", "budgets")}, None


def _engine_table(engine: Mapping[str, Any]) -> Table:
    title = f"engine at row {engine['sequence']:,}, {engine['rows_behind']:,} rows behind"
    table = Table(
        "calibration or budget", "scores", "drift at 10 %", "drift at 1 %", "alerts a day", "asked", title=title
    )
    for one in engine["calibrations"]:
        drifts = (one["drift_at_10_percent"], one["drift_at_1_percent"])
        table.add_row(plain(one["name"]), f"{one['scores']:,}", *(_told(drift) for drift in drifts), "", "")
    for one in engine["budgets"]:
        asked = "no budget" if one["asked"] is None else _told(one["asked"])
        table.add_row(plain(one["name"]), "", "", "", _told(one["realised"]), asked)
    return table


def _told(number: float | None) -> str:
    return "too little seen" if number is None else f"{number:.2f}"
