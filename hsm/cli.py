"""`portcullis hsm`: set tokens up, examine them, plan a rotation, hold a ceremony, clear a refused PIN.

Rules held here:
- Exit codes: 0 done or healthy, 1 refused or unhealthy (what to do is printed), 2 wrong usage.
- A process opens one token's module (design D7), so several powers are worked on in a process each.
- A PIN is never an argument and never printed; the security officer's PIN comes from a file or a hidden prompt.
- Nothing here signs with a wallet key or moves funds: `rotate` plans, the service carries out after approval.
"""

import json
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Annotated, Final, ParamSpec, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from hsm.callback import cli as callback_cli
from hsm.ceremony import cli as ceremony_cli
from hsm.command.cli import DEFAULT_HOME, AsJson, Home, Target, Yes, guarded
from hsm.keypath import DerivationPath
from hsm.pkcs11.checks import Check, Outcome, examine
from hsm.pkcs11.config import TokenConfig, pin_from_file
from hsm.pkcs11.pin import PinRecord
from hsm.pkcs11.provision import Provisioned, provision
from hsm.pkcs11.renewal import renew_ballot_key, retire_former_key
from hsm.power import GUARDIAN_LINE, Power
from hsm.rotation import BESIDE, Loss, Rotation, propose, remaining

_WIDTH_WITHOUT_TERMINAL: Final = 200
_STYLE: Final = {Outcome.OK: "green", Outcome.WARN: "yellow", Outcome.FAIL: "red", Outcome.UNKNOWN: "magenta"}

_Params = ParamSpec("_Params")
_Result = TypeVar("_Result")

app = typer.Typer(name="hsm", help="Keys and PKCS#11 tokens.", no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(callback_cli.app, name="callback-key")
app.add_typer(ceremony_cli.app, name="ceremony")
_out: Final = Console()
_err: Final = Console(stderr=True)

Powers = Annotated[list[Power] | None, typer.Option("--power", help="Which token; may be repeated. Default: all.")]
Uri = Annotated[
    str | None,
    typer.Option(
        "--uri", help="PKCS#11 URI of your own token (one --power). Default: PORTCULLIS_<POWER>_URI, else --home."
    ),
]


@app.command()
def init(
    power: Powers = None,
    home: Home = DEFAULT_HOME,
    uri: Uri = None,
    so_pin_file: Annotated[
        Path | None, typer.Option("--so-pin-file", help="File with the security officer's PIN; else a hidden prompt.")
    ] = None,
    upgrade: Annotated[bool, typer.Option("--upgrade", help="Bring a token of an older layout up to date.")] = False,
) -> None:
    """Set tokens up: initialise, set the PIN, generate each power's keys. Safe to repeat.

    [bold]Examples[/bold]

    portcullis hsm init

    portcullis hsm init --power vault --uri
    'pkcs11:token=portcullis-vault?module-path=/opt/hsm.so&pin-source=file:/etc/pin'
    """
    targets = _targets(power, uri, home)
    for target in targets:
        so_pin = _so_pin(target, so_pin_file)
        done = _run(len(targets) > 1, _init_one, target, so_pin, upgrade)
        made = ", ".join(done.generated) or "nothing: it was complete"
        _out.print(f"[green]ok[/green] {target.power.token_label}: generated {made}")
        if done.address is not None:
            _out.print(f"{GUARDIAN_LINE}{done.address}", highlight=False)


@app.command()
def doctor(power: Powers = None, home: Home = DEFAULT_HOME, uri: Uri = None, as_json: AsJson = False) -> None:
    """Examine tokens: module, versions, PIN record, login, mechanisms, keys.

    [bold]Examples[/bold]

    portcullis hsm doctor

    portcullis hsm doctor --power vault --json
    """
    targets = _targets(power, uri, home)
    found = {target.power: _run(len(targets) > 1, _examine_one, target) for target in targets}
    if as_json:
        _out.print_json(json.dumps({key: [_as_dict(check) for check in checks] for key, checks in found.items()}))
    else:
        (_out if _out.is_terminal else Console(width=_WIDTH_WITHOUT_TERMINAL)).print(_table(found))
    healthy = all(check.outcome in (Outcome.OK, Outcome.WARN) for checks in found.values() for check in checks)
    raise typer.Exit(0 if healthy else 1)


@app.command()
def rotate(
    account: Annotated[str, typer.Option("--account", help="Account path of the old keys, for example m/84h/0h/0h.")],
    lost: Annotated[Loss, typer.Option("--lost", help="What the attacker holds.")] = Loss.LEAF,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print the plan. Required: this command carries nothing out.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Print the plan that moves an account to new keys.

    [bold]Examples[/bold]

    portcullis hsm rotate --plan --account m/84h/0h/0h

    portcullis hsm rotate --plan --account m/44h/60h/0h --lost seed --json
    """
    if not plan:
        _err.print("add --plan: a rotation is carried out by the service, step by step, as its approvers decide")
        raise typer.Exit(2)
    rotation = guarded(lambda: propose(DerivationPath.parse(account), lost))
    if as_json:
        _out.print_json(json.dumps(_plan(rotation)))
        return
    keys = "under a new seed" if rotation.new_seed else "under the same seed"
    table = Table("step", "does", "quorum", "undo", title=f"{rotation.old} → {rotation.new} {keys} (lost: {lost})")
    for number, step in enumerate(remaining(rotation), start=1):
        table.add_row(f"{number}. {step.end}", step.does, "yes" if step.quorum else "no", step.undo)
    _out.print(table)
    _out.print(BESIDE)


@app.command("pin-clear")
def pin_clear(
    power: Annotated[Power, typer.Option("--power", help="Which token.")],
    home: Home = DEFAULT_HOME,
    uri: Uri = None,
    officer: Annotated[
        bool, typer.Option("--officer", help="Clear the security officer's PIN record instead.")
    ] = False,
    yes: Yes = False,
) -> None:
    """Let processes log in again after a refused PIN. Correct the PIN source first: real tokens lock for good.

    [bold]Example[/bold]

    portcullis hsm pin-clear --power vault
    """
    target = _targets([power], uri, home)[0]
    config = guarded(lambda: _config(target))
    if not yes:
        typer.confirm(f"Is the PIN source of {config.label} corrected?", abort=True)
    cleared = PinRecord(config.state_dir, config.label, who="so" if officer else "user").clear()
    _out.print("cleared: the next start logs in again" if cleared else "there was no refused PIN on record")


@app.command("ballots-renew")
def ballots_renew(home: Home = DEFAULT_HOME, uri: Uri = None, yes: Yes = False) -> None:
    """Make a new key that ballots are sealed for; what was sealed for the present one still opens. Stop the service first.

    [bold]Example[/bold]

    portcullis hsm ballots-renew
    """
    target = _targets([Power.AUTHORITY], uri, home)[0]
    if not yes:
        typer.confirm("Is the service stopped?", abort=True)
    guarded(lambda: renew_ballot_key(_config(target)))
    _out.print(
        "renewed. Remove public/authority-ballots.pem of the installation and start it: the authority publishes the new key."
        " Give the new file to every voter, over a channel you trust; then run `portcullis hsm ballots-retire`."
    )


@app.command("ballots-retire")
def ballots_retire(home: Home = DEFAULT_HOME, uri: Uri = None, yes: Yes = False) -> None:
    """Destroy the ballot key before the present one, for good: whoever still seals for it cannot vote until he has the new.

    [bold]Example[/bold]

    portcullis hsm ballots-retire
    """
    target = _targets([Power.AUTHORITY], uri, home)[0]
    if not yes:
        typer.confirm("Does every voter have the newest authority-ballots.pem?", abort=True)
    retired = guarded(lambda: retire_former_key(_config(target)))
    _out.print("retired" if retired else "there was no former ballot key")


def _targets(powers: list[Power] | None, uri: str | None, home: Path) -> list[Target]:
    chosen = powers or list(Power)
    if uri is not None and len(chosen) != 1:
        _err.print("--uri is for one token: name it with --power")
        raise typer.Exit(2)
    return [Target.chosen(power, home, uri) for power in chosen]


def _config(target: Target) -> TokenConfig:
    return TokenConfig.from_uri(target.uri())


def _so_pin(target: Target, file: Path | None) -> str | None:
    """Return the officer's PIN for a token of the user's own; an embedded one has its file."""
    if target.given is None:
        return None
    if file is not None:
        return guarded(pin_from_file(file))
    guarded(lambda: _config(target))  # a URI that is none is told before a PIN is asked for
    return str(typer.prompt(f"Security officer's PIN of {target.power.token_label}", hide_input=True))


def _init_one(target: Target, so_pin: str | None, upgrade: bool) -> Provisioned:
    if so_pin is not None:
        return provision(_config(target), target.power, lambda: so_pin, upgrade=upgrade)
    folder = target.folder()
    folder.prepare()
    return provision(_config(target), target.power, pin_from_file(folder.so_pin_file), upgrade=upgrade)


def _examine_one(target: Target) -> tuple[Check, ...]:
    return examine(_config(target), target.power)


def _run(apart: bool, work: Callable[_Params, _Result], *args: _Params.args, **kwargs: _Params.kwargs) -> _Result:
    """Run `work`; `apart` in a fresh process, because a process keeps the module it loaded."""
    if not apart:
        return guarded(lambda: work(*args, **kwargs))
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        return guarded(pool.submit(work, *args, **kwargs).result)


def _table(found: dict[Power, tuple[Check, ...]]) -> Table:
    table = Table("token", "check", "", "seen", "what to do")
    for power, checks in found.items():
        for check in checks:
            outcome = Text(check.outcome, style=_STYLE[check.outcome])
            table.add_row(power.token_label, check.name, outcome, Text(check.seen), Text(check.advice))
    return table


def _as_dict(check: Check) -> dict[str, str]:
    return {"name": check.name, "outcome": check.outcome.value, "seen": check.seen, "advice": check.advice}


def _plan(rotation: Rotation) -> dict[str, object]:
    steps = [
        {"state": step.end.value, "does": step.does, "quorum": step.quorum, "undo": step.undo}
        for step in remaining(rotation)
    ]
    return {
        "old": str(rotation.old),
        "new": str(rotation.new),
        "new_seed": rotation.new_seed,
        "lost": rotation.loss.value,
        "steps": steps,
        "beside": BESIDE,
    }
