"""`python -m drills demo | run NAME | list`: replay a recorded incident against a real installation.

Exit codes: 0 when all of it truly happened; 1 when it did not; 2 when the drill could not be carried out; 130 after
Ctrl-C, by which time everything that was started has been stopped. With PORTCULLIS_DRILL_RECORD set, every exchange at
the emulated platform is appended to that file as JSON lines, for the contract check.
"""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from drills.evm.errors import EvmError
from drills.runner.director import Director
from drills.runner.errors import DrillError
from drills.runner.homes import demo_folder
from drills.runner.opening import Target, Wish
from drills.runner.report import console, show
from drills.runner.screen import open_screen
from drills.runner.story import Story
from drills.scenario import ScenarioError, load, load_named, names
from drills.scenario_form import Scenario

RECORD_VARIABLE = "PORTCULLIS_DRILL_RECORD"
DEMO = "kucoin-2020"
ROOT = Path(".portcullis")
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
NOT_SO, IMPOSSIBLE, INTERRUPTED = 1, 2, 130

app = typer.Typer(
    name="drills", help="Replay recorded incidents.", no_args_is_help=True, pretty_exceptions_enable=False
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines; the last one is the summary.")]


@app.command()
def demo(*, as_json: AsJson = False) -> None:
    """Start a fresh installation and replay KuCoin 2020 against it."""
    raise typer.Exit(_carry_out(load_named(DEMO), Wish(demo_folder(ROOT), record=_record()), as_json=as_json))


@app.command()
def run(
    name: Annotated[str, typer.Argument(help="Name of a scenario (see `list`), or a path that ends in .yaml.")],
    *,
    url: Annotated[
        str, typer.Option(help="A running installation that was not set up yet; without it a fresh one is started.")
    ] = "",
    setup_token: Annotated[
        str,
        typer.Option(envvar="PORTCULLIS_SETUP_TOKEN", help="Its one-time set-up token; by default HOME/setup-token."),
    ] = "",
    home: Annotated[Path, typer.Option(envvar="PORTCULLIS_HOME", help="Its home, with public/ in it.")] = ROOT,
    emulator_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the emulated platform; 0: any.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Replay one scenario."""
    try:
        scenario = load(Path(name)) if name.endswith((".yaml", ".yml")) else load_named(name)
        target = _target(url, setup_token, home) if url else None
    except (ScenarioError, DrillError) as error:
        raise typer.Exit(_refuse(error)) from None
    wish = Wish(demo_folder(ROOT), target, _record(), emulator_port)
    raise typer.Exit(_carry_out(scenario, wish, as_json=as_json))


@app.command(name="list")
def list_scenarios() -> None:
    """List the scenarios that come with Portcullis."""
    for name in names():
        typer.echo(f"{name:<20} {load_named(name).title}")


def _target(url: str, setup_token: str, home: Path) -> Target:
    if not setup_token:
        try:
            setup_token = (home / "setup-token").read_text().strip()
        except OSError as error:
            raise DrillError(
                f"{home / 'setup-token'} cannot be read ({error.strerror}): give --setup-token, or --home"
            ) from None
    return Target(url, setup_token, home)


def _carry_out(scenario: Scenario, wish: Wish, *, as_json: bool) -> int:
    for number in INTERRUPTS:
        signal.signal(number, _interrupt)
    story = Story()
    screen = open_screen(story, as_json=as_json)
    story.listen = screen.line
    try:
        with screen, contextlib.ExitStack() as ending:
            ending.callback(story.show)  # what was told before it broke off, too
            summary = Director(scenario, wish, story, screen).run()
    except (DrillError, EvmError) as error:
        return _refuse(error)
    except KeyboardInterrupt:
        sys.stderr.write("\ndrill: interrupted; everything that was started has been stopped\n")
        return INTERRUPTED
    path = wish.folder / "summary.json"
    path.write_text(json.dumps(summary.as_json(), indent=1) + "\n")
    if as_json:
        typer.echo(json.dumps(summary.as_json()))
    else:
        show(console(), scenario, summary)
        typer.echo(f"Summary: {path}")
    return 0 if summary.succeeded else NOT_SO


def _record() -> Path | None:
    found = os.environ.get(RECORD_VARIABLE)
    return Path(found) if found else None


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    """End the drill once; a second Ctrl-C must not break off the stopping."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _refuse(error: Exception) -> int:
    sys.stderr.write(f"drill: {error}\n")
    return IMPOSSIBLE
