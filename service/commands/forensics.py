"""`portcullis evidence`, `portcullis address-lists`: where the money went, and who is named on the way.

Rules: what is printed is what the API told, as plain text; the picture is drawn here from the same report, so that it shows
nothing that the report does not say.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from service.commands.client import fetch, send
from service.commands.listing import Column, Item, show_list
from service.commands.printing import Json, console, moment, plain, print_json, segment, table
from service.domain.errors import InputError
from service.domain.forensics.drawing import drawn
from service.domain.forensics.labels import MAX_BYTES, LabelKind

lists = typer.Typer(help="Lists of labelled addresses: who is a service, who is sanctioned.", no_args_is_help=True)


def evidence(
    incident: Annotated[str, typer.Argument(help="The incident's id, inc_…")],
    *,
    again: Annotated[bool, typer.Option("--again", help="Ask that it be traced from the beginning once more.")] = False,
    past_labels: Annotated[
        bool, typer.Option("--past-labels", help="With --again: do not end at labels, but those of kind service.")
    ] = False,
    svg: Annotated[Path | None, typer.Option(help="Write the picture to this file.")] = None,
    as_json: Json = False,
) -> None:
    """Show where an incident's money went, and who had been there before.

    Example: `portcullis evidence inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R --svg trace.svg`
    """
    if past_labels and not again:
        raise InputError("--past-labels goes with --again: it is traced anew", field="past_labels")
    path = f"/v1/incidents/{segment(incident)}/evidence"
    if again:
        send(path, {"past_labels": past_labels})
        console().print(f"Asked for: portcullis evidence {plain(incident)} shows it when it is there.")
        return
    found = fetch(path)
    if svg is not None and found["report"] is not None:
        svg.write_text(drawn(found["report"]), encoding="utf-8")
    if as_json:
        print_json(found)
        return
    out = console()
    if found["state"] != "complete":
        out.print("It is still being gathered.")
    report = found["report"] or {"chains": [], "access": [], "notes": []}
    for chain in report["chains"]:
        heads = ("hop", "address", "named", "stopped", "asset", "poison", "haircut", "FIFO")
        ended = "; ".join(chain["cut"]) or "not all could be told"
        title = plain(chain["chain"] if chain["complete"] else f"{chain['chain']}: {ended}")
        out.print(table(title, heads, [row for one in chain["addresses"] for row in _rows(one)]), "")
    if report["access"]:
        columns = ("when, UTC", "what", "who", "from", "session", "in common", "about")
        out.print(table("Who had been there", columns, [_line(line) for line in report["access"]]))
    for note in report["notes"]:
        typer.echo(plain(note), err=True)


@lists.command("show")
def show(*, as_json: Json = False) -> None:
    """List what was imported.

    Example: `portcullis address-lists show`
    """
    columns: dict[str, Column] = {
        "list": "id",
        "state": _state,
        "source": "source",
        "dated": "listed_on",
        "addresses": "entries",
        "imported by": "imported_by",
    }
    show_list("Address lists", "/v1/address-lists", columns, as_json=as_json)


@lists.command("import")
def import_list(
    file: Annotated[Path, typer.Argument(help="One address a line, or CSV with the columns address, name, kind.")],
    *,
    source: Annotated[str, typer.Option(help="Who published it.")],
    dated: Annotated[str, typer.Option(help="The list's own date, 2026-11-01.")],
    name: Annotated[str, typer.Option(help="What a plain list's addresses are called.")] = "Listed",
    kind: Annotated[LabelKind, typer.Option(help="What a plain list's addresses are.")] = LabelKind.SERVICE,
) -> None:
    """Import a list: payments to whom it warns of are held or alerted on at once. It stands beside earlier ones.

    Example: `portcullis address-lists import eth.txt --source "Treasury" --dated 2026-11-01 --kind sanctioned`
    """
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{file} is over {MAX_BYTES} bytes: split it", field="file")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file} cannot be read: {error.strerror}", field="file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{file} is not UTF-8 text", field="file") from error
    body = {"source": source, "listed_on": dated, "name": name, "kind": kind.value, "text": text}
    found = send("/v1/address-lists", body)
    console().print(f"{plain(found['id'])}: {found['entries']} addresses of {plain(found['source'])} are named now.")


@lists.command("remove")
def remove_list(
    address_list: Annotated[str, typer.Argument(metavar="LIST", help="The list's id, lst_…")],
    *,
    why: Annotated[str, typer.Option(help="What approvers read.")],
) -> None:
    """Ask for the quorum that withdraws a list: payments to its addresses are held no more, unless another names them.

    Example: `portcullis address-lists remove lst_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P --why "A newer edition is in force."`
    """
    found = send(f"/v1/address-lists/{segment(address_list)}/remove", {"why": why})
    console().print(f"This takes a quorum: portcullis approve {plain(found['approval'])}")


def _state(one: Item) -> str:
    return "in force" if one["in_force"] else "withdrawn"


def _rows(one: dict[str, Any]) -> list[tuple[object, ...]]:
    label = one["label"]
    named = "" if label is None else f"{label['name']} ({label['kind']}; {label['source']}, {label['listed_on']})"
    return [
        (one["hop"], one["address"], named, one["stopped"], asset, t["poison"], t["haircut"], t["fifo"])
        for asset, t in one["received"].items()
    ]


def _line(line: dict[str, Any]) -> tuple[object, ...]:
    place = " ".join(part for part in (line["ip"], line["country"]) if part)
    return (
        moment(line["at"]),
        line["kind"],
        line["actor"],
        place,
        line["session"],
        ", ".join(line["shares"]),
        line.get("about"),
    )
