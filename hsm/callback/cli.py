"""`portcullis hsm callback-key`: replace the key that signs our answers to a co-signer, without a gap.

Rules held here: as in `hsm.cli`; a token folder is opened only by the user whose it is, because a file that another user
made there could not be read by the service any more.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.table import Table

from hsm.command.cli import DEFAULT_HOME, AsJson, Home, Target, Yes, guarded
from hsm.errors import HsmInputError
from hsm.pkcs11.callback import CallbackKey, add_key, list_keys, retire_key
from hsm.pkcs11.config import TokenConfig
from hsm.power import Power

_out: Final = Console()
_err: Final = Console(stderr=True)

app = typer.Typer(name="callback-key", help="The gate's keys that sign answers to a co-signer.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="Name of the key, as it stands in the callback's address.")]
Uri = Annotated[str | None, typer.Option("--uri", help="PKCS#11 URI of your own token. Default: PORTCULLIS_GATE_URI.")]


@app.command()
def add(name: Name, home: Home = DEFAULT_HOME, uri: Uri = None) -> None:
    """Make one more key and print its public half, for the co-signer.

    [bold]Example[/bold]

    portcullis hsm callback-key add 2027
    """
    made = guarded(lambda: add_key(_config(home, uri), name))
    _err.print(f"give the co-signer this key together with the address /cosigner/CONNECTION/key/{made.name}")
    _out.print(made.public_key_pem.decode(), end="", highlight=False, soft_wrap=True)


@app.command("list")
def show(
    home: Home = DEFAULT_HOME,
    uri: Uri = None,
    as_json: AsJson = False,
) -> None:
    """List the keys and whether each one still signs.

    [bold]Example[/bold]

    portcullis hsm callback-key list
    """
    keys = guarded(lambda: list_keys(_config(home, uri)))
    if as_json:
        _out.print_json(json.dumps([_as_dict(key) for key in keys]))
        return
    table = Table("name", "signs", "address that the co-signer calls")
    for key in keys:
        table.add_row(key.name or "(of set-up)", "yes" if key.signs else "retired", _address(key))
    _out.print(table)


@app.command()
def retire(
    name: Annotated[str, typer.Argument(help="Name of the key; an empty one is the key of set-up.")],
    home: Home = DEFAULT_HOME,
    uri: Uri = None,
    yes: Yes = False,
) -> None:
    """Let a key sign nothing any more. A co-signer that still calls its address is answered 503: nothing is signed.

    [bold]Example[/bold]

    portcullis hsm callback-key retire 2026
    """
    if not yes:
        typer.confirm("Does every co-signer call the new address by now?", abort=True)
    retired = guarded(lambda: retire_key(_config(home, uri), name))
    _out.print(f"retired: {_address(retired)} is answered no more")


def _config(home: Path, uri: str | None) -> TokenConfig:
    target = Target.chosen(Power.GATE, home, uri)
    place = target.place
    if target.given is None and place.exists() and place.stat().st_uid != os.geteuid():
        raise HsmInputError(f"{place} belongs to another user: run this as that user", field="home")
    return TokenConfig.from_uri(target.uri())


def _address(key: CallbackKey) -> str:
    return f"/cosigner/CONNECTION/key/{key.name}" if key.name else "/cosigner/CONNECTION"


def _as_dict(key: CallbackKey) -> dict[str, object]:
    return {"name": key.name, "signs": key.signs, "address": _address(key), "public_key": key.public_key_pem.decode()}
