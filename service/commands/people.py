"""`portcullis people`: who decides, asking for more of them, and enrolling one's own factor.

Rules: the enrolment code is drawn in the terminal and kept nowhere, and comes from the authority under a key of this
machine's own; the first code leaves sealed; adding a person opens a request that a quorum decides.
"""

import io
import json
import os
from pathlib import Path
from typing import Annotated

import segno
import typer

from hsm.sealing import KEY_BYTES
from service.commands.client import ApiClient, api_token, send
from service.commands.listing import Column, show_list
from service.commands.printing import Json, console, plain, segment
from service.commands.sealing import (
    BALLOTS_FILE,
    BALLOTS_VARIABLE,
    ballot_key,
    opened_answer,
    sealed_first_code,
    sealed_question,
)
from service.domain.ballot import client_code
from service.domain.errors import ConfigurationError
from service.domain.quorum import Role

Person = Annotated[str, typer.Argument(help="The person's id, per_…")]
Client = Annotated[
    str | None, typer.Option(help="Code of the client that alone may enrol the factor, as the person read it out.")
]

app = typer.Typer(help="People who decide: list, add, enrol.", no_args_is_help=True)


@app.command("list")
def list_people(*, as_json: Json = False) -> None:
    """List everybody.

    Example: `portcullis people list`
    """
    columns: dict[str, Column] = {
        "person": "id",
        "name": "name",
        "roles": "roles",
        "state": "state",
        "on call": "oncall_level",
        "votes": lambda one: "yes" if one["votes"] else "no",
    }
    show_list("People", "/v1/people", columns, as_json=as_json)


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="What colleagues call this person.")],
    *,
    email: Annotated[str, typer.Option(help="Where this person is reached.")],
    role: Annotated[list[Role], typer.Option(help="A role; repeat it for more.")],
    oncall_level: Annotated[int | None, typer.Option(min=1, max=3, help="1 is paged first.")] = None,
    why: Annotated[str, typer.Option(help="What the approvers read.")] = "A new colleague.",
    client: Client = None,
) -> None:
    """Ask for a person to be added.

    Example: `portcullis people add Ada --email ada@example.org --role responder`
    """
    body: dict[str, object] = {"name": name, "email": email, "roles": [r.value for r in role], "why": why}
    if oncall_level is not None:
        body["oncall_level"] = oncall_level
    if client is not None:
        body["client"] = client
    told = send("/v1/people", body)
    approval = plain(told["approval"]["id"])
    console().print(f"Once it is approved, {plain(name)} is {plain(told['person'])}: portcullis approve {approval}")


@app.command()
def factor(
    person: Person,
    *,
    why: Annotated[str, typer.Option(help="What the approvers read.")],
    client: Client = None,
) -> None:
    """Ask for a new factor for a person, who then enrols it.

    Example: `portcullis people factor per_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P --why "A new phone." --client CODE`
    """
    body = {"why": why} if client is None else {"why": why, "client": client}
    told = send(f"/v1/people/{segment(person)}/factor", body)
    console().print(f"Once it is approved, {plain(person)} enrols it: portcullis approve {plain(told['id'])}")


@app.command()
def prepare(
    file: Annotated[Path, typer.Argument(help="Where this machine's key for the enrolment is written; a new file.")],
) -> None:
    """Make a key that my factor can be enrolled under and print its code, which I read out to who asks for the factor.

    Approvers then see the code in the request, and nobody else's client can enrol the factor, whatever token it holds.

    Example: `portcullis people prepare enrolment.key`
    """
    key = os.urandom(KEY_BYTES)
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            out.write(key)
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be made ({error.strerror}): name a new file", field="file") from error
    code = client_code(key)
    typer.echo("-".join(code[at : at + 4] for at in range(0, len(code), 4)))


@app.command()
def suspend(person: Person) -> None:
    """Suspend a person at once.

    Example: `portcullis people suspend per_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P`
    """
    send(f"/v1/people/{segment(person)}/suspend")
    console().print(f"{plain(person)} is suspended; restoring takes a quorum.")


@app.command()
def enrol(
    *,
    code: Annotated[str | None, typer.Option(help="First code, for scripts.")] = None,
    sealing: Annotated[
        Path | None, typer.Option("--ballot-key", help=f"{BALLOTS_FILE}, to seal with; else {BALLOTS_VARIABLE}.")
    ] = None,
    client_key: Annotated[
        Path | None, typer.Option(help="What `people prepare` wrote; needed where the request named its code.")
    ] = None,
) -> None:
    """Enrol my factor: scan the code, then type the first number.

    Example: `portcullis people enrol`
    """
    out = console()
    key = ballot_key(sealing)
    with ApiClient(api_token()) as api:
        person = str(api.get("/v1/people/me")["id"])
        if code is None:
            uri = enrolment_uri(api, key, person, read_client_key(client_key))
            out.print("Scan this with your authenticator; it is shown this once.")
            typer.echo(terminal_code(uri))
            code = str(typer.prompt("First code"))
        api.post("/v1/people/me/enrol/confirm", {"sealed": sealed_first_code(key, person, code)})
    out.print("Your factor is confirmed. One that was enrolled after set-up counts after 24 hours.")


def read_client_key(file: Path | None) -> bytes:
    """Return the key that was prepared, or a fresh one. Raises ConfigurationError when the file holds none."""
    if file is None:
        return os.urandom(KEY_BYTES)
    try:
        key = file.read_bytes()
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read ({error.strerror})", field="client_key") from error
    if len(key) != KEY_BYTES:
        raise ConfigurationError(f"{file} is not what `portcullis people prepare` wrote", field="client_key")
    return key


def enrolment_uri(api: ApiClient, key: bytes, person: str, reply_key: bytes) -> str:
    """Ask the authority for a person's enrolment code. Raises ApprovalError when somebody else answered."""
    told = api.post("/v1/people/me/enrol", {"sealed": sealed_question(key, person, reply_key)})
    return str(json.loads(opened_answer(reply_key, person, str(told["sealed"])))["otpauth_uri"])


def terminal_code(uri: str) -> str:
    """Return a URI as a QR code made of block characters (ISO/IEC 18004, error correction M)."""
    out = io.StringIO()
    segno.make_qr(uri, error="m").terminal(out=out, compact=True)
    return out.getvalue()
