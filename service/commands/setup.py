"""`portcullis setup FILE.yaml`: the first set-up in one go, under the one-time token.

Rules: people, connections, channels, policy, first codes, accounts, completion, in this order, each through the API; what is
secret in the answers (enrolment codes, API tokens) goes to the terminal, or to a new file of mode 0600 when one is named.
Each person's first code is asked for before accounts, because quorums count enrolled people only and the one-time token
confirms nobody once an account is registered. A code is asked for again only when it was the code that was wrong.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer
import yaml
from rich.console import Console

from service.commands.client import ApiClient
from service.commands.people import terminal_code
from service.domain.errors import ConfigurationError, InputError, UnauthenticatedError
from service.domain.secrets import Secret

TOKEN_VARIABLE: Final = "PORTCULLIS_SETUP_TOKEN"  # noqa: S105  a variable's name
SECTIONS: Final = ("people", "connections", "channels", "policy", "accounts")
MAX_FILE: Final = 1024 * 1024


def setup(
    file: Annotated[Path, typer.Argument(help="YAML with people, connections, channels, policy, accounts.")],
    *,
    token_file: Annotated[Path | None, typer.Option(help="File with the one-time token that `up` printed.")] = None,
    secrets_to: Annotated[Path | None, typer.Option(help="Write tokens and codes here (0600), not on screen.")] = None,
) -> None:
    """Set up people, connections, channels, policy and accounts.

    Example: `portcullis setup first.yaml`
    """
    plan = read_plan(file)
    console = Console(markup=False, highlight=False)
    with ApiClient(setup_token(token_file)) as api, _file_for_secrets(secrets_to) as out:
        shown: dict[str, object] = {}
        if plan["people"]:
            shown["people"] = _people(api, console, plan["people"], on_screen=out is None)
        if plan["connections"]:
            shown |= api.post("/v1/setup/connections", {"connections": plan["connections"]})
        if plan["channels"]:
            api.post("/v1/setup/channels", {"channels": plan["channels"]})
        api.post("/v1/setup/policy", {"changes": plan["policy"] or {}})
        _hand_over(console, shown, out)
        for person in shown.get("people", []):  # type: ignore[attr-defined]  # a list, made above
            _confirm(api, console, person)
        if plan["accounts"]:
            _accounts(api, console, plan["accounts"])
        api.post("/v1/setup/complete")
    console.print("Set-up is complete. From here on, who decides and what is connected changes by quorum only.")


def read_plan(file: Path) -> Mapping[str, Any]:
    """Return the sections of a set-up file. Raises InputError naming an unknown section."""
    try:
        if file.stat().st_size > MAX_FILE:
            raise InputError(f"{file} is larger than {MAX_FILE} bytes", field="file")
        loaded = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}", field="file") from error
    except (UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{file} is not YAML: {' '.join(str(error).split())}", field="file") from error
    if not isinstance(loaded, dict):
        raise InputError(f"{file} must hold sections: {', '.join(SECTIONS)}", field="file")
    unknown = sorted(set(map(str, loaded)) - set(SECTIONS))
    if unknown:
        raise InputError(f"{file}: {unknown[0]!r} is no section; there are {', '.join(SECTIONS)}", field=unknown[0])
    return {section: loaded.get(section) for section in SECTIONS}


def setup_token(file: Path | None) -> Secret:
    """Return the one-time token from its file or the environment. Raises ConfigurationError."""
    if file is None and os.environ.get(TOKEN_VARIABLE):
        return Secret(os.environ[TOKEN_VARIABLE].strip())
    path = file or Path(os.environ.get("PORTCULLIS_HOME", ".portcullis")) / "setup-token"
    try:
        return Secret(path.read_text(encoding="ascii").strip())
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} holds no set-up token: give --token-file, or set {TOKEN_VARIABLE}") from error


def _people(api: ApiClient, console: Console, people: object, *, on_screen: bool) -> list[dict[str, Any]]:
    added: list[dict[str, Any]] = api.post("/v1/setup/people", {"people": people})["people"]
    names = [str(p.get("name", "")) for p in people] if isinstance(people, list) else []
    for person, name in zip(added, names, strict=True):
        person["name"] = name
        if on_screen:
            console.print(f"{name} ({person['person']}): scan this, it is shown this once.")
            typer.echo(terminal_code(str(person["otpauth_uri"])))
    return added


def _confirm(api: ApiClient, console: Console, person: Mapping[str, Any]) -> None:
    while True:
        code = typer.prompt(f"First code of {person['name']}")
        try:
            api.post(f"/v1/setup/people/{person['person']}/confirm", {"code": code})
        except UnauthenticatedError as error:
            if error.field != "code":
                raise  # the token is refused: no code would ever be taken
            console.print(str(error))
        else:
            return


def _accounts(api: ApiClient, console: Console, accounts: object) -> None:
    for made in api.post("/v1/setup/accounts", {"accounts": accounts})["accounts"]:
        console.print(f"Account {made['connection']}/{made['ref']} is {made['id']}.")


@contextmanager
def _file_for_secrets(file: Path | None) -> Iterator[TextIO | None]:
    """Make the file before anything is asked for: what the API tells is told once. One that stayed empty is removed."""
    if file is None:
        yield None
        return
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(f"{file} cannot be made: {error.strerror}; name a new file", field="secrets_to") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as out:
            yield out
    finally:
        if file.stat().st_size == 0:
            file.unlink()


def _hand_over(console: Console, shown: Mapping[str, object], out: TextIO | None) -> None:
    if out is None:
        for person in shown.get("people", []):  # type: ignore[attr-defined]  # a list of the API's
            typer.echo(f"API token of {person['name']}: {person['api_token']}")
        for connection in shown.get("connections", []):  # type: ignore[attr-defined]  # a list of the API's
            typer.echo(f"Ingest token of {connection['id']}: {connection['ingest_token']}")
        return
    json.dump(shown, out, indent=2)
    out.flush()
    console.print(f"Tokens and enrolment codes are in {out.name}: hand them over, then delete the file.")
