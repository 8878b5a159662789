"""`portcullis alerts | verdict | activities | clear | report | sample | vouch`: what was found, what people say of it."""

from typing import Annotated, Final

import typer

from service.commands.client import send
from service.commands.listing import Column, score, show_list, when
from service.commands.printing import Cursor, Json, Limit, console, plain, segment
from service.domain.incident import CaseVerdict, IncidentKind

_ACTIVITY: Final[dict[str, Column]] = {
    "activity": "id",
    "kind": "kind",
    "account": "account",
    "USD": "amount_usd",
    "to": "destination",
    "score": score,
    "decision": "decision",
    "received": when("received_at"),
}


def alerts(
    *,
    incident: Annotated[str | None, typer.Option(help="Only those of one incident.")] = None,
    kind: Annotated[IncidentKind | None, typer.Option(help="Only those of one kind.")] = None,
    waiting: Annotated[bool, typer.Option("--waiting", help="Only those without a verdict.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List alerts, newest first.

    Example: `portcullis alerts --waiting`
    """
    columns: dict[str, Column] = {
        "alert": "id",
        "severity": "severity",
        "decision": "decision",
        "score": score,
        "what": "title",
        "USD": "amount_usd",
        "raised": when("raised_at"),
        "verdict": "verdict",
    }
    chosen = {"incident": incident, "kind": kind, "waiting": waiting, "limit": limit, "cursor": cursor}
    show_list("Alerts", "/v1/alerts", columns, as_json=as_json, **chosen)


def verdict(
    alert: Annotated[str, typer.Argument(help="The alert's id, alr_…")],
    verdict: Annotated[CaseVerdict, typer.Argument(help="What it was.")],
) -> None:
    """Say whether an alert was right; the engine learns it when the incident is reviewed.

    Example: `portcullis verdict alr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P true_positive`
    """
    found = send(f"/v1/alerts/{segment(alert)}/verdict", {"verdict": verdict.value})
    console().print(f"{plain(alert)} was judged {plain(found['verdict'])}.")


def activities(
    *,
    account: Annotated[str | None, typer.Option(help="Only those of one account, by the platform's id.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only those of one kind, such as withdrawal.requested.")] = None,
    anomalous: Annotated[bool, typer.Option("--anomalous", help="Only what was alerted or held.")] = False,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List activities with their assessments, newest first.

    Example: `portcullis activities --anomalous --account hot-eth-1`
    """
    chosen = {"account": account, "kind": kind, "anomalous": anomalous, "limit": limit, "cursor": cursor}
    show_list("Activities", "/v1/activities", _ACTIVITY, as_json=as_json, **chosen)


def clear(
    activity: Annotated[str, typer.Argument(help="The held activity's id, act_…")],
    *,
    why: Annotated[str | None, typer.Option(help="What approvers read.")] = None,
) -> None:
    """Ask for the quorum that lets a held activity's transaction be signed; the engine then learns it.

    Example: `portcullis clear act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q --why "Announced, and called back."`
    """
    found = send(f"/v1/activities/{segment(activity)}/clear", {} if why is None else {"why": why})
    console().print(f"This takes a quorum: portcullis approve {plain(found['approval'])}")


def report(
    activity: Annotated[str, typer.Argument(help="The activity's id, act_…")],
    *,
    kind: Annotated[
        IncidentKind | None, typer.Option(help="What is happening; left out: by what the activity is.")
    ] = None,
) -> None:
    """Report a theft that the engine let pass: its incident opens, and what it tightens is tightened at once.

    Example: `portcullis report act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q --kind account_takeover`
    """
    found = send(f"/v1/activities/{segment(activity)}/report", {} if kind is None else {"kind": kind.value})
    console().print(f"Reported as {plain(found['id'])}. Its incident: portcullis incidents")


def sample(
    *,
    account: Annotated[str | None, typer.Option(help="Only those of one account, by the platform's id.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List what was let pass and drawn to be looked at, one in a hundred: vouch for each, or report it.

    Example: `portcullis sample --limit 20`
    """
    chosen = {"account": account, "sample": True, "limit": limit, "cursor": cursor}
    show_list("Let pass, and drawn", "/v1/activities", _ACTIVITY, as_json=as_json, **chosen)


def vouch(activity: Annotated[str, typer.Argument(help="The activity's id, act_…, from `portcullis sample`.")]) -> None:
    """Say that nothing was wrong with a drawn activity; the engine learns it.

    Example: `portcullis vouch act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q`
    """
    found = send(f"/v1/activities/{segment(activity)}/vouch", {})
    console().print(f"{plain(found['activity'])}: {plain(found['by'])} vouches for it.")
