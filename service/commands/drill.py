"""`portcullis drill NAME | list`: replay a recorded incident against this or a fresh installation.

Rule: the service knows nothing of drills; this runs `python -m drills` as a process of its own, as an outsider would.
"""

import os
import subprocess
import sys
from typing import Annotated

import typer


def drill(
    name: Annotated[str, typer.Argument(help="Scenario, for example kucoin-2020; `list` shows all of them.")],
    url: Annotated[
        str, typer.Option(help="A running installation that was not set up yet; without it a fresh one is started.")
    ] = "",
    setup_token: Annotated[
        str,
        typer.Option(envvar="PORTCULLIS_SETUP_TOKEN", help="Its one-time set-up token; by default HOME/setup-token."),
    ] = "",
    emulator_port: Annotated[int, typer.Option(min=0, max=65535, help="Port of the emulated platform; 0: any.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON lines; the last one is the summary.")] = False,
) -> None:
    """Replay a recorded incident and show what was lost, saved, and how quickly.

    Ends with 0 only when everything happened as the scenario says.

    Example: `portcullis drill kucoin-2020`
    """
    if name == "list":
        raise typer.Exit(_run(["-m", "drills", "list"], {}))
    arguments = ["--emulator-port", str(emulator_port), *(["--json"] if as_json else [])]
    arguments += ["--url", url] if url else []
    environment = {"PORTCULLIS_SETUP_TOKEN": setup_token} if setup_token else {}
    raise typer.Exit(_run(["-m", "drills", "run", name, *arguments], environment))


def _run(arguments: list[str], environment: dict[str, str]) -> int:
    """Run it on this terminal; Ctrl-C reaches it too, and it is left the time to stop what it started."""
    with subprocess.Popen([sys.executable, *arguments], env={**os.environ, **environment}) as process:  # noqa: S603  our own module
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:
                continue
