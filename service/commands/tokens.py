"""`portcullis tokens list | add | revoke`: API tokens; a new one is printed once, alone on standard output."""

from typing import Annotated

import typer

from service.commands.client import ApiClient, api_token
from service.commands.printing import (
    Cursor,
    Json,
    Limit,
    asked,
    console,
    moment,
    plain,
    print_json,
    print_page,
    segment,
    table,
)
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
    with ApiClient(api_token()) as api:
        found = api.get("/v1/tokens", **asked(usable=usable, limit=limit, cursor=cursor))
    if as_json:
        print_json(found)
        return
    heads = ("token", "role", "label", "of", "made", "until", "revoked")
    rows = [
        (
            one["id"],
            one["role"],
            one["label"],
            one["person_id"] or one["connection_id"],
            moment(one["created_at"]),
            moment(one["expires_at"]),
            moment(one["revoked_at"]),
        )
        for one in found["items"]
    ]
    print_page(found, table("API tokens", heads, rows))


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
    with ApiClient(api_token()) as api:
        made = api.post("/v1/tokens", body)
    typer.echo(f"{plain(made['id'])}: keep it now, it is not shown again", err=True)
    typer.echo(plain(made["token"]))


@app.command()
def revoke(token: Annotated[str, typer.Argument(help="The token's id, tok_…")]) -> None:
    """Revoke a token; it stops working within seconds.

    Example: `portcullis tokens revoke tok_01JD2Z5Q8Z6W9X4V7T3S1R0Q8W`
    """
    with ApiClient(api_token()) as api:
        api.delete(f"/v1/tokens/{segment(token)}")
    console().print(f"{token} is revoked.")
