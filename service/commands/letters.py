"""`portcullis letters`: what was written to issuers of stolen tokens, and the files that prove it.

Rules: what is printed is what the API told, as plain text; with a folder, each letter is written as the issuer got it, in a
folder of its own beside its signatures and the public key, so that anybody can verify it with other tools
(`sha256sum -c SHA256SUMS`). Only the folder's user chooses where: a step is named by its identifier, files have names of
ours, each is made anew without following links, and what is there already is kept when it is the same and never written
over when it is not. Page and PDF are made again from the text; one that is not what was signed is not written.
"""

import base64
from pathlib import Path
from typing import Annotated, Any

import typer

from service.commands.client import fetch
from service.commands.printing import Json, console, moment, plain, print_json, segment, table
from service.domain.errors import InputError
from service.domain.ids import looks_like_id
from service.notifiers.outside import SUMS, TEXT, files_of, sums


def letters(
    incident: Annotated[str, typer.Argument(help="The incident's id, inc_…")],
    *,
    save: Annotated[Path | None, typer.Option(help="Write letters, signatures and keys into this folder.")] = None,
    as_json: Json = False,
) -> None:
    """List an incident's letters to issuers; each is asked for with `portcullis request INCIDENT request_issuer_freeze`.

    Example: `portcullis letters inc_01JD2Z5Q8Z6W9X4V7T3S1R0Q8R --save case`
    """
    found = fetch(f"/v1/incidents/{segment(incident)}/letters")
    if save is not None:
        _save(save, found["items"])
    if as_json:
        print_json(found)
        return
    heads = ("step", "stands", "token", "to", "sent, UTC")
    rows = [
        (one["step"], one["state"], one["asset"], f"{one['issuer']} <{one['recipient']}>", moment(one["finished_at"]))
        for one in found["items"]
    ]
    out = console()
    out.print(table("Letters to issuers", heads, rows), "")
    for one in found["items"]:
        out.print(plain(one["subject"]), *(plain(line) for line in one["text"].splitlines()), sep="\n")


def _save(folder: Path, found: list[dict[str, Any]]) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for one in found:
            if not looks_like_id(one["step"], "stp"):
                raise InputError(f"the API named a step {one['step']!r}", field="step")
            place = folder / one["step"]
            if place.is_symlink():
                raise InputError(f"{place} is a link: remove it or save into another folder", field="save")
            place.mkdir(exist_ok=True)
            for name, content in _files(one).items():
                _write(place / name, content)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error}", field="save") from error


def _write(file: Path, content: bytes) -> None:
    try:
        with file.open("xb") as made:  # "x" follows no link
            made.write(content)
    except FileExistsError as error:
        if file.is_symlink() or not file.is_file() or file.read_bytes() != content:
            raise InputError(
                f"{file} is there already and is not this: save into another folder", field="save"
            ) from error


def _files(one: dict[str, Any]) -> dict[str, bytes]:
    found: dict[str, bytes] = {TEXT: one["text"].encode()}
    if one["signature"] is not None:
        found[f"{TEXT}.sig"] = base64.b64decode(one["signature"])
        found["public-key.pem"] = one["public_key"].encode()
    if one["sums"] is not None:
        found[SUMS] = one["sums"].encode()
        found[f"{SUMS}.sig"] = base64.b64decode(one["sums_signature"])
        for name, content in files_of(one["text"], one["subject"]).items():
            if sums({name: content}).decode() in one["sums"].splitlines(keepends=True):
                found[name] = content
            else:
                console().print(f"{one['step']}: {name} as it was sent cannot be made here, and is not written")
    return found
