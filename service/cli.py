"""The `portcullis` command: mounts the sub-commands and is the only place that knows exit codes.

Rules enforced here: an expected error prints one message that says what to do and ends with the code of its kind
(sysexits.h where it has one); an unexpected one keeps its traceback; Ctrl-C during a start ends
with 130 after a clean stop.
"""

import sys
from collections.abc import Callable, Mapping
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
COMMANDS: Final[Mapping[str, tuple[Callable[..., None], ...]]] = {
    "The installation": (
        runtime.up,
        runtime.run,
        runtime.down,
        runtime.status,
        runtime.doctor,
        setup.setup,
        drill.drill,
    ),
    "Incidents": (
        incidents.incidents,
        incidents.incident,
        incidents.ack,
        incidents.assign,
        incidents.comment,
        incidents.confirm,
        incidents.request,
        incidents.settle,
        incidents.close,
        forensics.evidence,
        letters.letters,
    ),
    "What the engine sees": (
        findings.alerts,
        findings.verdict,
        findings.activities,
        explain.explain,
        findings.clear,
        findings.report,
        findings.sample,
        findings.vouch,
    ),
    "Who decides": (approve.approvals, approve.approve),
    "Proof and trials": (replay.replay, backtest.backtest),
    "Keys and reference": (docs.docs,),
}
GROUPS: Final[Mapping[str, tuple[tuple[str, typer.Typer], ...]]] = {
    "What the engine sees": (
        ("suppressions", blinding.suppressions),
        ("settings", blinding.settings),
        ("rules", rules_cli.app),
        ("address-lists", forensics.lists),
    ),
    "Who decides": (("people", people.app), ("tokens", tokens.app)),
    "Proof and trials": (("audit", audit.app),),
    "Keys and reference": (("hsm", hsm_cli.app),),
}
for panel, commands in COMMANDS.items():
    for command in commands:
        app.command(rich_help_panel=panel)(command)
for panel, groups in GROUPS.items():
    for name, group in groups:
        app.add_typer(group, name=name, rich_help_panel=panel)


def main() -> None:
    """Run the command line; ends the process."""
    try:
        app()
    except PortcullisError as error:
        sys.stderr.write(f"portcullis: {error}\n")
        raise SystemExit(EXIT_CODES.get(error.code, OTHER_ERROR)) from None


if __name__ == "__main__":
    main()
