"""`portcullis alerts | verdict | activities | clear`: what the engine found, and what people say of it."""

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
from service.domain.incident import CaseVerdict, IncidentKind


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
    with ApiClient(api_token()) as api:
        query = asked(incident=incident, kind=kind, waiting=waiting, limit=limit, cursor=cursor)
        found = api.get("/v1/alerts", **query)
    if as_json:
        print_json(found)
        return
    heads = ("alert", "severity", "decision", "score", "what", "USD", "raised", "verdict")
    rows = [
        (
            one["id"],
            one["severity"],
            one["decision"],
            f"{one['score']:.1f}",
            one["title"],
            one["amount_usd"],
            moment(one["raised_at"]),
            one["verdict"],
        )
        for one in found["items"]
    ]
    print_page(found, table("Alerts", heads, rows))


def verdict(
    alert: Annotated[str, typer.Argument(help="The alert's id, alr_…")],
    verdict: Annotated[CaseVerdict, typer.Argument(help="What it was.")],
) -> None:
    """Say whether an alert was right; the engine learns it when the incident is reviewed.

    Example: `portcullis verdict alr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P true_positive`
    """
    with ApiClient(api_token()) as api:
        found = api.post(f"/v1/alerts/{segment(alert)}/verdict", {"verdict": verdict.value})
    console().print(f"{alert} was judged {plain(found['verdict'])}.")


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
    chosen = asked(account=account, kind=kind, anomalous=anomalous, limit=limit, cursor=cursor)
    with ApiClient(api_token()) as api:
        found = api.get("/v1/activities", **chosen)
    if as_json:
        print_json(found)
        return
    heads = ("activity", "kind", "account", "USD", "to", "score", "decision", "received")
    rows = [
        (
            one["id"],
            one["kind"],
            one["account"],
            one["amount_usd"],
            one["destination"],
            "" if one["score"] is None else f"{one['score']:.1f}",
            one["decision"],
            moment(one["received_at"]),
        )
        for one in found["items"]
    ]
    print_page(found, table("Activities", heads, rows))


def clear(
    activity: Annotated[str, typer.Argument(help="The held activity's id, act_…")],
    *,
    why: Annotated[str | None, typer.Option(help="What approvers read.")] = None,
) -> None:
    """Ask for the quorum that lets a held activity's transaction be signed; the engine then learns it.

    Example: `portcullis clear act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q --why "Announced, and called back."`
    """
    with ApiClient(api_token()) as api:
        found = api.post(f"/v1/activities/{segment(activity)}/clear", {} if why is None else {"why": why})
    console().print(f"This takes a quorum: portcullis approve {plain(found['approval'])}")
