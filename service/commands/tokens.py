"""`portcullis tokens list | add | revoke`: API tokens; a new one is printed once, alone on standard output."""

from typing import Annotated

import typer

from service.commands.client import ApiClient, api_token, send
from service.commands.listing import Column, show_list, when
from service.commands.printing import Cursor, Json, Limit, console, plain, segment
from service.domain.quorum import Role

app = typer.Typer(help="API tokens: list, add, revoke.", no_args_is_help=True)


@app.command("list")
def list_tokens(
    *,
    usable: Annotated[bool, typer.Option("--usable", help="Only those neither revoked nor expired.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List tokens, newest first; what they are cannot be read again.

    Example: `portcullis tokens list --usable`
    """
    columns: dict[str, Column] = {
        "token": "id",
        "role": "role",
        "label": "label",
        "of": lambda one: one["person_id"] or one["connection_id"],
        "made": when("created_at"),
        "until": when("expires_at"),
        "revoked": when("revoked_at"),
    }
    show_list("API tokens", "/v1/tokens", columns, as_json=as_json, usable=usable, limit=limit, cursor=cursor)


@app.command()
def add(
    label: Annotated[str, typer.Argument(help="What it is for.")],
    *,
    role: Annotated[Role, typer.Option(help="What its holder may do.")],
    connection: Annotated[str | None, typer.Option(help="For `ingest`: the connection it speaks for.")] = None,
    person: Annotated[str | None, typer.Option(help="The person it acts for; he must have the role.")] = None,
    valid_days: Annotated[int, typer.Option(min=1, max=366, help="How long it works.")] = 90,
) -> None:
    """Make a token; it is printed this once.

    Example: `portcullis tokens add "wall display" --role viewer`
    """
    body: dict[str, object] = {"label": label, "role": role.value, "valid_days": valid_days}
    body |= {name: value for name, value in (("connection", connection), ("person", person)) if value is not None}
    made = send("/v1/tokens", body)
    typer.echo(f"{plain(made['id'])}: keep it now, it is not shown again", err=True)
    typer.echo(plain(made["token"]))


@app.command()
def revoke(token: Annotated[str, typer.Argument(help="The token's id, tok_…")]) -> None:
    """Revoke a token; it stops working within seconds.

    Example: `portcullis tokens revoke tok_01JD2Z5Q8Z6W9X4V7T3S1R0Q8W`
    """
    with ApiClient(api_token()) as api:
        api.delete(f"/v1/tokens/{segment(token)}")
    console().print(f"{plain(token)} is revoked.")
