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
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, TextIO

import typer
import yaml
from rich.console import Console

from service.commands.client import ApiClient
from service.commands.people import terminal_code
from service.domain.errors import ConfigurationError, InputError, PortcullisError, UnauthenticatedError
from service.domain.secrets import Secret

TOKEN_VARIABLE: Final = "PORTCULLIS_SETUP_TOKEN"  # noqa: S105  a variable's name
SECTIONS: Final = ("people", "connections", "channels", "policy", "accounts")
MAX_FILE: Final = 1024 * 1024


def setup(
    file: Annotated[Path, typer.Argument(help="YAML with people, connections, channels, policy, accounts.")],
    *,
    token_file: Annotated[Path | None, typer.Option(help="File with the one-time token that `up` printed.")] = None,
    secrets_to: Annotated[Path | None, typer.Option(help="Write tokens and codes here (0600), not on screen.")] = None,
    confirm: Annotated[
        list[str] | None,
        typer.Option(help="Somebody registered by a set-up that was broken off: ask for his first code, too."),
    ] = None,
) -> None:
    """Set up people, connections, channels, policy and accounts.

    Example: `portcullis setup first.yaml`
    """
    plan = read_plan(file)
    console = Console(markup=False, highlight=False, soft_wrap=True)
    with ApiClient(setup_token(token_file)) as api:
        begun = _SetUp(api, console, plan, [{"person": person, "name": person} for person in confirm or ()])
        try:
            begun.register(secrets_to)
            begun.confirm()
        except (PortcullisError, typer.Abort):
            begun.say_how_to_go_on(file)
            raise
        if plan["accounts"]:
            _accounts(api, console, plan["accounts"])
        api.post("/v1/setup/complete")
    console.print("Set-up is complete. From here on, who decides and what is connected changes by quorum only.")


@dataclass(slots=True)
class _SetUp:
    """What comes before accounts, and how far it got."""

    api: ApiClient
    console: Console
    plan: Mapping[str, Any]
    people: list[dict[str, Any]]
    """Whose first codes are still to be asked for."""
    done: list[str] = field(default_factory=list)

    def register(self, secrets_to: Path | None) -> None:
        """Register section by section; what is told once is handed over whatever fails after it."""
        shown: dict[str, object] = {}
        with _file_for_secrets(secrets_to) as out:
            try:
                self._sections(shown, on_screen=out is None)
            finally:
                if shown:
                    _hand_over(shown, out)
                    if secrets_to is not None:
                        told = f"Tokens and enrolment codes are in {secrets_to}: hand them over, then delete the file."
                        self.console.print(told)

    def _sections(self, shown: dict[str, object], *, on_screen: bool) -> None:
        if self.plan["people"]:
            added = _people(self.api, self.console, self.plan["people"], on_screen=on_screen)
            shown["people"] = added
            self.people += added
            self.done.append("people")
        if self.plan["connections"]:
            shown |= self.api.post("/v1/setup/connections", {"connections": self.plan["connections"]})
            self.done.append("connections")
        if self.plan["channels"]:
            self.api.post("/v1/setup/channels", {"channels": self.plan["channels"]})
            self.done.append("channels")
        self.api.post("/v1/setup/policy", {"changes": self.plan["policy"] or {}})

    def confirm(self) -> None:
        """Ask for everybody's first code."""
        while self.people:
            _confirm(self.api, self.console, self.people[0])
            del self.people[0]

    def say_how_to_go_on(self, file: Path) -> None:
        """Say what the next run needs, where people are registered whose first codes are still missing."""
        if self.people:
            waiting = " ".join(f"--confirm {person['person']}" for person in self.people)
            without = f" Take {', '.join(self.done)} out of {file}: that is registered." if self.done else ""
            self.console.print(f"\nBroken off, nothing is lost.{without} Then: portcullis setup {file} {waiting}")


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


def _hand_over(shown: Mapping[str, object], out: TextIO | None) -> None:
    if out is None:
        for person in shown.get("people", []):  # type: ignore[attr-defined]  # a list of the API's
            typer.echo(f"API token of {person['name']}: {person['api_token']}")
        for connection in shown.get("connections", []):  # type: ignore[attr-defined]  # a list of the API's
            typer.echo(f"Ingest token of {connection['id']}: {connection['ingest_token']}")
        return
    json.dump(shown, out, indent=2)
