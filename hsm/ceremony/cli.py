"""`portcullis hsm ceremony`: plan, enrol witnesses, run, verify.

Rules held here:
- Exit codes: 0 done, 1 refused or stopped (what to do is printed), 2 wrong usage.
- Words and shares are typed without echo; a share is shown on a terminal only, and the screen is cleared after it: in a
  pipe or a file it would be kept. A code is shown nowhere.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import segno
import typer
from rich.console import Console

from hsm.ceremony.journal import Journal
from hsm.ceremony.offices import TokenVault, TokenWitnesses
from hsm.ceremony.plan import MAX_FILE_BYTES, CeremonyPlan, read_plan
from hsm.ceremony.run import Ceremony
from hsm.ceremony.transcript import Transcript, fingerprint, same_key
from hsm.command.cli import DEFAULT_HOME, Home, Target, guarded
from hsm.errors import CeremonyError
from hsm.power import Power
from hsm.totp import enrolment_uri, new_seed

FOLDER: Final = "ceremonies"

app = typer.Typer(name="ceremony", help="Witnessed key ceremonies.", no_args_is_help=True)
_out: Final = Console()
_err: Final = Console(stderr=True)

File = Annotated[Path, typer.Argument(help="The ceremony's YAML file.")]


@app.command()
def plan(file: File) -> None:
    """Check a plan and print what a run would do. Opens no token.

    [bold]Example[/bold]

    portcullis hsm ceremony plan treasury.yaml
    """
    found = guarded(lambda: _read(file))
    _out.print(f"ceremony {found.ceremony}: {found.purpose}", highlight=False)
    for number, step in enumerate(_steps(found), start=1):
        _out.print(f"{number}. {step}", highlight=False)
    _out.print(f"plan digest {found.digest}", highlight=False)


@app.command()
def witness(
    name: Annotated[str, typer.Argument(help="The witness's name as plans write it.")],
    home: Home = DEFAULT_HOME,
    remove: Annotated[bool, typer.Option("--remove", help="Forget this witness.")] = False,
) -> None:
    """Enrol a witness: a factor for ceremonies alone, confirmed by its first code.

    [bold]Example[/bold]

    portcullis hsm ceremony witness first-officer
    """
    with _offices(home) as (_, witnesses):
        if remove:
            guarded(lambda: witnesses.remove(name))
            _out.print(f"{name} is no witness any more", highlight=False)
            return
        _require_terminal("an enrolment code")
        seed = new_seed()
        guarded(lambda: witnesses.begin(name, seed))
        uri = enrolment_uri(seed, f"ceremony {name}")
        segno.make_qr(uri, error="m").terminal(out=sys.stdout, compact=True)
        _out.print(uri, highlight=False, soft_wrap=True)
        code = str(typer.prompt(f"First code of {name}", hide_input=True))
        _out.clear()
        guarded(lambda: witnesses.confirm(name, code))
    _out.print(f"{name} is enrolled", highlight=False)


@app.command()
def run(
    file: File,
    home: Home = DEFAULT_HOME,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, change nothing.")] = False,
) -> None:
    """Carry a ceremony out, or finish one that was closed. Stopping it before its end keeps nothing.

    [bold]Examples[/bold]

    portcullis hsm ceremony run treasury.yaml --dry-run

    portcullis hsm ceremony run treasury.yaml
    """
    found = guarded(lambda: _read(file))
    with _offices(home) as (vault, witnesses):
        journal = Journal((home / FOLDER).absolute(), found.ceremony)
        ceremony = Ceremony(found, vault, witnesses, _Room(), journal, lambda: datetime.now(UTC))
        if dry_run:
            entry = guarded(ceremony.check)
            ahead = "finish what was closed" if entry is not None and entry.is_kept else "begin"
            _out.print(f"nothing stands in the way; a run would {ahead}; nothing was changed", highlight=False)
            return
        if found.backup is not None:
            _require_terminal("a share")
        transcript = guarded(ceremony.run)
    _out.print(f"done: {journal.transcript_file}", highlight=False, soft_wrap=True)
    _out.print(f"signed by {fingerprint(transcript.public_key_pem.encode())}", highlight=False, soft_wrap=True)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="The transcript.")],
    key: Annotated[Path | None, typer.Option("--key", help="The pinned public key (PEM).")] = None,
) -> None:
    """Verify a transcript's signature and print what it states.

    Without --key the key inside is used: compare its fingerprint with one that you trust.

    [bold]Example[/bold]

    portcullis hsm ceremony verify treasury.transcript.json --key authority-checkpoint.pem
    """
    transcript = guarded(lambda: Transcript.parse(_text(file, "transcript")))
    inside = transcript.public_key_pem.encode()
    pinned = inside if key is None else guarded(lambda: _text(key, "key")).encode()
    said = guarded(lambda: transcript.verified(pinned))
    _out.print_json(data=said)
    _out.print(f"signed by {fingerprint(pinned)}", highlight=False, soft_wrap=True)
    if key is None or not same_key(pinned, inside):
        _err.print("the key was not pinned: compare the fingerprint", highlight=False)


@dataclass(frozen=True, slots=True)
class _Room:
    """The people at this terminal."""

    def tell(self, sentence: str) -> None:
        _out.print(sentence, highlight=False, soft_wrap=True)

    def code(self, witness: str, why: str) -> str:
        return str(typer.prompt(f"Code of {witness} {why}", hide_input=True))

    def words(self, what: str) -> str:
        return str(typer.prompt(what, hide_input=True, default="", show_default=False))

    def show_share(self, number: int, count: int, text: str) -> None:
        typer.prompt(
            f"Share {number} of {count}: its holder alone at the screen, then Enter", default="", show_default=False
        )
        for place, word in enumerate(text.split(), start=1):
            typer.echo(f"{place:3} {word}")
        typer.prompt("Written down? Enter clears the screen", default="", show_default=False)
        _out.clear()


def _steps(found: CeremonyPlan) -> Iterator[str]:
    yield f"{', '.join(found.witnesses)} each open it with a code"
    source = {"new": "drawn in the vault token", "words": "typed as BIP-39 words", "shares": "typed as SLIP-39 shares"}
    yield f"the seed of wallet {found.wallet} is {source[found.seed.value]}, and sealed by the vault token"
    yield f"the public side of {', '.join(account.path for account in found.accounts)} is stated"
    if found.backup is not None:
        back = f"; {found.backup.threshold} are typed back" if found.backup.read_back else ""
        yield f"{found.backup.shares} shares are shown, any {found.backup.threshold} of which restore the seed{back}"
    yield f"{', '.join(found.witnesses)} each close it with another code"
    yield "the authority token signs the transcript; only then the vault token keeps the sealed seed"


def _read(file: Path) -> CeremonyPlan:
    return read_plan(_text(file, "file"))


def _text(file: Path, field: str) -> str:
    try:
        with file.open(encoding="utf-8") as opened:
            return opened.read(16 * MAX_FILE_BYTES + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise CeremonyError(
            f"{file} cannot be read: {getattr(error, 'strerror', None) or 'not UTF-8'}", field=field
        ) from None


@contextmanager
def _offices(home: Path) -> Iterator[tuple[TokenVault, TokenWitnesses]]:
    uris = [guarded(Target.chosen(power, home).uri) for power in (Power.VAULT, Power.AUTHORITY)]
    vault, witnesses = TokenVault(uris[0]), TokenWitnesses(uris[1])
    try:
        yield vault, witnesses
    finally:
        vault.close()
        witnesses.close()


def _require_terminal(what: str) -> None:
    if not sys.stdout.isatty() or not sys.stdin.isatty():
        _err.print(f"{what} is shown on a terminal only: in a pipe or a file it would be kept")
        raise typer.Exit(2)
