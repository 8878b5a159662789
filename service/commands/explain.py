"""`portcullis explain`: why an activity was judged as it was.

Rules: what is printed is what the API told, as plain text; the sentences come first, because they are the explanation.
"""

from typing import Annotated, Any

import typer
from rich.panel import Panel
from rich.text import Text

from service.commands.client import fetch
from service.commands.printing import Json, console, moment, plain, print_json, segment, table
from service.domain.errors import InputError

_PREFIX = "act_"


def explain(
    activity: Annotated[str, typer.Argument(help="The activity's id, act_…")],
    *,
    as_json: Json = False,
) -> None:
    """Say why an activity was judged as it was: what was observed, what is usual, and each reason's share of the score.

    Example: `portcullis explain act_01JD2Z5Q8Z6W9X4V7T3S1R0Q8Q`
    """
    if not activity.startswith(_PREFIX):
        raise InputError(
            f"{plain(activity)} is no activity: `portcullis activities --anomalous` lists their ids, act_…",
            field="activity",
        )
    found = fetch(f"/v1/activities/{segment(activity)}/explanation")
    if as_json:
        print_json(found)
        return
    out = console()
    title = f"{plain(found['decision'] or found['status'])}: {plain(found['kind'])}, {moment(found['occurred_at'])} UTC"
    out.print(Panel(Text("\n".join(plain(line) for line in found["sentences"])), title=Text(title)))
    if found["reasons"]:
        heads = ("feature", "observed", "usual", "share", "", "read by")
        out.print(table("Reasons", heads, [_reason(one) for one in found["reasons"]]), "")
    if found["detectors"]:
        heads = ("detector", "what", "severity", "decision", "status", "runbook")
        out.print(table("Detectors that fired", heads, [_detector(one) for one in found["detectors"]]), "")
    out.print(Text(f"Picture: {plain(found['picture'])}"))


def _reason(one: dict[str, Any]) -> tuple[object, ...]:
    share = float(one["share"])
    bar = "\u2588" * max(0, min(20, round(share * 20)))
    return one["feature"], one["observed"], one["usual"], f"{share:.0%}", bar, one["detector"] or "the score"


def _detector(one: dict[str, Any]) -> tuple[object, ...]:
    if not one["known"]:
        return one["id"], "no longer in the set in force", "", "", "", ""
    return one["id"], one["title"], one["severity"], one["decision"], one["status"], one["runbook"]
