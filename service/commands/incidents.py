"""`portcullis incidents | incident | ack | assign | comment | close | confirm | request | settle`, from a terminal.

Rules: one command is one call of the API, under the caller's own token; closing or asking for what takes a quorum says so,
and names the approval that people have to vote on.
"""

from enum import StrEnum
from typing import Annotated, Any

import typer

from service.commands.client import fetch, send
from service.commands.listing import Column, show_list, when
from service.commands.printing import Cursor, Json, Limit, console, moment, plain, print_json, segment, table
from service.domain.errors import InputError
from service.domain.incident import CaseVerdict, IncidentState, Severity
from service.domain.numbers import from_words
from service.domain.settlement import Outcome

Incident = Annotated[str, typer.Argument(help="The incident's id, inc_…")]


class SeverityWord(StrEnum):
    """A severity as it is written."""

    LOW = Severity.LOW.word
    MEDIUM = Severity.MEDIUM.word
    HIGH = Severity.HIGH.word
    CRITICAL = Severity.CRITICAL.word


def incidents(
    *,
    state: Annotated[IncidentState | None, typer.Option(help="Only those in this state.")] = None,
    severity: Annotated[SeverityWord | None, typer.Option(help="Only those at least so severe.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
    as_json: Json = False,
) -> None:
    """List incidents, newest first.

    Example: `portcullis incidents --state open --severity high`
    """
    columns: dict[str, Column] = {
        "incident": "id",
        "severity": "severity",
        "state": "state",
        "what": "title",
        "at risk, USD": "value_at_risk_usd",
        "opened": when("opened_at"),
        "taken by": "acknowledged_by",
    }
    chosen = {"state": state, "severity": severity, "limit": limit, "cursor": cursor}
    show_list("Incidents", "/v1/incidents", columns, as_json=as_json, **chosen)


def incident(incident: Incident, *, as_json: Json = False) -> None:
    """Show one incident: what it is, what was done, what waits, and its timeline.

    Example: `portcullis incident inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R`
    """
    found = fetch(f"/v1/incidents/{segment(incident)}")
    if as_json:
        print_json(found)
        return
    out = console()
    out.print(table(plain(found["title"]), ("", ""), _facts(found)), "")
    steps = [(s["id"], s["action"], s["target"].get("value"), s["effect"], _stands(s)) for s in found["steps"]]
    out.print(table("Steps", ("step", "action", "on", "effect", "stands"), steps), "")
    waiting = [(a["id"], a["subject"], a["state"], moment(a["approve_by"])) for a in found["approvals"]]
    if waiting:
        out.print(table("Approvals", ("request", "about", "state", "until"), waiting), "")
    lines = [(moment(line["at"]), line["sentence"], line["by"]) for line in found["timeline"]]
    out.print(table("Timeline", ("when, UTC", "what", "by"), lines))
    for cut in found["more"]:
        typer.echo(f"only the newest {cut} are shown", err=True)


def ack(incident: Incident) -> None:
    """Take an incident: escalation stops.

    Example: `portcullis ack inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R`
    """
    found = _post(incident, "acknowledge")
    console().print(f"{incident} was taken by {plain(found['acknowledged_by'])}.")


def assign(incident: Incident, person: Annotated[str, typer.Argument(help="The person's id, per_…")]) -> None:
    """Say who works on an incident.

    Example: `portcullis assign inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R per_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P`
    """
    found = _post(incident, "assign", {"person": person})
    console().print(f"{incident} is assigned to {plain(found['assignee'])}.")


def comment(incident: Incident, text: Annotated[str, typer.Argument(help="What to keep; no personal data.")]) -> None:
    """Add a line to the timeline; it is kept for good.

    Example: `portcullis comment inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R "Called the operator: not theirs."`
    """
    _post(incident, "comments", {"text": text})
    console().print("Kept.")


def close(
    incident: Incident,
    *,
    verdict: Annotated[CaseVerdict, typer.Option(help="What it was.")],
    version: Annotated[int, typer.Option(help="Its version as you saw it: `portcullis incident` shows it.")],
    alert: Annotated[
        list[str] | None, typer.Option(help="An alert that was something else: alr_…=verdict; repeat for more.")
    ] = None,
    why: Annotated[str | None, typer.Option(help="What approvers read where closing takes a quorum.")] = None,
) -> None:
    """Close an incident as you last saw it; its review is written. Closing a critical one as false takes a quorum.

    Example: `portcullis close inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R --verdict true_positive --version 7`
    """
    body: dict[str, object] = {"verdict": verdict.value, "version": version, "alerts": _judged(alert or [])}
    if why is not None:
        body["why"] = why
    found = _post(incident, "close", body)
    if "approval" in found:
        approval = plain(found["approval"])
        console().print(f"This takes a quorum: portcullis approve {approval}")
        return
    console().print(f"{incident} is closed: {plain(found['verdict'])}.")


def confirm(incident: Incident, step: Annotated[str, typer.Argument(help="The step's id, stp_…")]) -> None:
    """Confirm a step that tightened without asking.

    Example: `portcullis confirm inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R stp_01JD2Z5Q8Z6W9X4V7T3S1R0Q8S`
    """
    _post(incident, f"steps/{segment(step)}/confirm")
    console().print(f"{step} is confirmed.")


def request(
    incident: Incident,
    action: Annotated[str, typer.Argument(help="`recover`, or an action of the incident's playbook.")],
    *,
    number: Annotated[list[str] | None, typer.Option(help="What the action has to be told, as signatures=3.")] = None,
) -> None:
    """Ask for an action; what loosens then waits for its quorum.

    Example: `portcullis request inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R recover`
    """
    numbers = from_words(" ".join(number or ()))
    _post(incident, "actions", {"action": action} | ({"numbers": numbers} if numbers else {}))
    console().print(f"{action} was asked for: portcullis incident {incident} shows what comes of it.")


def settle(
    incident: Incident,
    step: Annotated[str, typer.Argument(help="The step's id, stp_…; its state is unknown.")],
    outcome: Annotated[Outcome, typer.Argument(help="What became of it.")],
    *,
    why: Annotated[str, typer.Option(help="How that is known; approvers read it.")],
) -> None:
    """Say what became of a step whose outcome no machine can tell; takes a quorum.

    Example: `portcullis settle inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R stp_01JD2Z5Q8Z6W9X4V7T3S1R0Q8S happened --why "Seen."`
    """
    found = _post(incident, f"steps/{segment(step)}/settle", {"outcome": outcome.value, "why": why})
    console().print(f"This takes a quorum: portcullis approve {plain(found['approval'])}")


def _post(incident: str, what: str, body: dict[str, object] | None = None) -> dict[str, Any]:
    return send(f"/v1/incidents/{segment(incident)}/{what}", body)


def _judged(alerts: list[str]) -> dict[str, str]:
    found = {}
    for one in alerts:
        alert, separator, verdict = one.partition("=")
        if not separator or verdict not in set(CaseVerdict):
            raise InputError(f"{one!r}: write alr_…=verdict, with one of {', '.join(CaseVerdict)}", field="alert")
        found[alert] = verdict
    return found


def _facts(found: dict[str, Any]) -> list[tuple[str, object]]:
    told = [
        ("id", found["id"]),
        ("kind", found["kind"]),
        ("severity", found["severity"]),
        ("state", found["state"]),
        ("at risk, USD", found["value_at_risk_usd"]),
        ("touches", found["entities"]),
        ("opened, UTC", moment(found["opened_at"])),
        ("first hold", moment(found["held_at"])),
        ("contained", moment(found["contained_at"])),
        ("taken by", found["acknowledged_by"]),
        ("assigned to", found["assignee"]),
        ("verdict", found["verdict"]),
        ("version", found["version"]),
    ]
    return [(name, value) for name, value in told if value not in (None, "")]


def _stands(step: dict[str, Any]) -> str:
    parts = [step["state"].replace("_", " ")]
    if step["reason"]:
        parts.append(step["reason"])
    if step["confirm_by"] and not step["confirmed_by"]:
        parts.append(f"to be confirmed by {moment(step['confirm_by'])}")
    return ": ".join(plain(part) for part in parts)
