"""`portcullis suppressions | settings`: what the engine is told to see.

Rules: one command is one call of the API, under the caller's own token; what takes a quorum says so, and names the approval
that people have to vote on.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import typer

from service.commands.client import fetch, send
from service.commands.listing import Column, show_list, when
from service.commands.printing import Cursor, Json, Limit, console, plain, print_json, segment, table
from service.domain.errors import InputError

suppressions = typer.Typer(help="Findings about one entity that decide nothing for a while.", no_args_is_help=True)
settings = typer.Typer(help="From where on the engine alerts and holds.", no_args_is_help=True)


@suppressions.command("list")
def list_suppressions(
    *,
    active: Annotated[bool, typer.Option("--active", help="Only those in force.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List suppressions that a quorum approved, newest first.

    Example: `portcullis suppressions list --active`
    """
    columns: dict[str, Column] = {
        "suppression": "id",
        "state": "state",
        "entity": "entity",
        "detector": lambda one: one["detector"] or "the score",
        "until, UTC": when("expires_at"),
        "owner": "owner",
        "reason": "reason",
    }
    show_list("Suppressions", "/v1/suppressions", columns, as_json=as_json, active=active, limit=limit, cursor=cursor)


@suppressions.command("request")
def request_suppression(
    entity: Annotated[str, typer.Argument(help="account:CONNECTION/ID, actor:…, device:… or destination:ID, exactly.")],
    *,
    reason: Annotated[str, typer.Option(help="Why; read by those who must approve.")],
    days: Annotated[float | None, typer.Option(min=0.01, max=90, help="For how many days from now.")] = None,
    until: Annotated[str | None, typer.Option(help="Or until when: RFC 3339 with offset.")] = None,
    detector: Annotated[str | None, typer.Option(help="Of one detector; without it, of the score itself.")] = None,
    owner: Annotated[str | None, typer.Option(help="Who answers for it, per_…; without it, you.")] = None,
) -> None:
    """Ask for the quorum that lets findings about one entity decide nothing for a while; they are still scored and kept.

    Example: `portcullis suppressions request account:main/hot-1 --detector payout-burst --days 7 --reason "Payroll run."`
    """
    if (days is None) == (until is None):
        raise InputError("say for how long: either --days 7 or --until 2027-01-31T00:00:00Z", field="days")
    end = until if days is None else (datetime.now(UTC) + timedelta(days=days)).isoformat()
    body = {"entity": entity, "reason": reason, "expires_at": end, "detector": detector, "owner": owner}
    found = send("/v1/suppressions", {name: value for name, value in body.items() if value is not None})
    console().print(f"This takes a quorum: portcullis approve {plain(found['approval'])}")


@suppressions.command("lift")
def lift(suppression: Annotated[str, typer.Argument(help="The suppression's id, sup_…")]) -> None:
    """Lift a suppression: it tightens, and runs at once.

    Example: `portcullis suppressions lift sup_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R`
    """
    found = send(f"/v1/suppressions/{segment(suppression)}/lift")
    console().print(f"{plain(found['id'])} is lifted: findings about {plain(found['entity'])} count again.")


@settings.command("show")
def show_settings(*, as_json: Json = False) -> None:
    """Show the engine's settings, and which way each one loosens.

    Example: `portcullis settings show`
    """
    found = fetch("/v1/engine/settings")
    if as_json:
        print_json(found)
        return
    rows = [(one["name"], _text(one["value"]), _direction(one["loosens"])) for one in found["changeable"]]
    out = console()
    out.print(table("May be changed while it runs", ("setting", "value", "takes a quorum"), rows), "")
    names = {one["name"] for one in found["changeable"]}
    rest = [(name, _text(value)) for name, value in sorted(found["settings"].items()) if name not in names]
    out.print(table("Set at installation", ("setting", "value"), rest))


@settings.command("propose")
def propose_settings(
    changes: Annotated[list[str], typer.Argument(help="NAME=VALUE, the value as JSON: hold_p=1e-6 alerts_per_day=20")],
    *,
    why: Annotated[str, typer.Option(help="What approvers read.")],
    as_json: Json = False,
) -> None:
    """Change the engine's settings: at once where all of them tighten, else by a quorum.

    Example: `portcullis settings propose alerts_per_day=20 --why "Nobody looked at the fiftieth."`
    """
    body = {"changes": dict(_change(one) for one in changes), "why": why}
    found = send("/v1/engine/settings", body)
    if as_json:
        print_json(found)
        return
    rows = [(o["name"], _text(o["old"]), _text(o["new"]), "loosens" if o["loosens"] else "") for o in found["changes"]]
    out = console()
    out.print(table("Changes", ("setting", "from", "to", ""), rows))
    told = "They are in force." if found["applied"] else f"This takes a quorum: portcullis approve {found['approval']}"
    out.print(plain(told))


def _change(told: str) -> tuple[str, Any]:
    name, separator, value = told.partition("=")
    try:
        if separator:
            return name, json.loads(value)
    except ValueError:
        pass
    raise InputError(f"{told!r}: write NAME=VALUE with a JSON value, such as hold_p=1e-6", field="changes")


def _text(value: object) -> str:
    return "none" if value is None else json.dumps(value)


def _direction(word: str) -> str:
    return {"lower": "when lowered", "higher": "when raised", "both": "either way"}.get(word, plain(word))
