"""The `portcullis` command: mounts the sub-commands and is the only place that knows exit codes.

Rules enforced here: an expected error prints one message that says what to do and ends with the code of its kind
(sysexits.h where it has one); an unexpected one keeps its traceback; Ctrl-C during a start ends
with 130 after a clean stop.
"""

import sys
from collections.abc import Mapping
from typing import Final

import typer

from hsm import cli as hsm_cli
from rules import cli as rules_cli
from service.commands import (
    approve,
    audit,
    backtest,
    blinding,
    docs,
    drill,
    explain,
    findings,
    forensics,
    incidents,
    letters,
    people,
    replay,
    runtime,
    setup,
    tokens,
)
from service.domain.errors import PortcullisError

EXIT_CODES: Final[Mapping[str, int]] = {
    "invalid_input": 64,
    "not_found": 66,
    "unavailable": 69,
    "internal": 70,
    "conflict": 75,
    "unauthenticated": 77,
    "forbidden": 77,
    "configuration": 78,
    "not_running": 3,
    "interrupted": 130,
}
OTHER_ERROR: Final = 1

app = typer.Typer(
    name="portcullis",
    help="Wallet-security incident response: detect, hold, contain, approve, prove.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(runtime.up)
app.command()(runtime.run)
app.command()(runtime.down)
app.command()(runtime.status)
app.command()(runtime.doctor)
app.command()(setup.setup)
app.command()(drill.drill)
app.command()(replay.replay)
app.command()(backtest.backtest)
app.command()(approve.approvals)
app.command()(approve.approve)
app.command()(incidents.incidents)
app.command()(incidents.incident)
app.command()(incidents.ack)
app.command()(incidents.assign)
app.command()(incidents.comment)
app.command()(incidents.close)
app.command()(incidents.confirm)
app.command()(incidents.request)
app.command()(incidents.settle)
app.command()(forensics.evidence)
app.command()(letters.letters)
app.command()(findings.alerts)
app.command()(findings.verdict)
app.command()(findings.activities)
app.command()(findings.clear)
app.command()(explain.explain)
app.command()(docs.docs)
app.add_typer(tokens.app, name="tokens")
app.add_typer(people.app, name="people")
app.add_typer(audit.app, name="audit")
app.add_typer(forensics.lists, name="address-lists")
app.add_typer(blinding.suppressions, name="suppressions")
app.add_typer(blinding.settings, name="settings")
app.add_typer(hsm_cli.app, name="hsm")
app.add_typer(rules_cli.app, name="rules")


def main() -> None:
    """Run the command line; ends the process."""
    try:
        app()
    except PortcullisError as error:
        sys.stderr.write(f"portcullis: {error}\n")
        raise SystemExit(EXIT_CODES.get(error.code, OTHER_ERROR)) from None


if __name__ == "__main__":
    main()
