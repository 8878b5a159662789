"""`portcullis approvals` and `portcullis approve`: read the stored document and vote on exactly that.

Rules: the digest, the check code and the sentences are computed here from the document's own bytes, whatever the API says
they are; the two must agree or nothing is sent. The answer and the code leave this machine sealed for the authority, as
the answer to exactly the document that was shown: the API carries a ballot that it can neither read nor use for another
one. Where the authority's vote key is at hand, the signed vote that comes back is checked against what was read.
"""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from service.commands.client import ApiClient, api_token
from service.commands.listing import Column, show_list, when
from service.commands.printing import Json, console, plain, segment
from service.commands.sealing import (
    BALLOTS_FILE,
    BALLOTS_VARIABLE,
    VOTES_FILE,
    VOTES_VARIABLE,
    ballot_key,
    public_key,
    sealed_text,
)
from service.domain.approval import ActionDocument, check_code, is_check_code, parse, sentences
from service.domain.authorisation import opened_vote
from service.domain.ballot import BALLOT_TAG, BallotPaper, associated_data, filled
from service.domain.errors import ApprovalError, ConflictError, InputError
from service.domain.signed import Signed


def approvals(
    *,
    as_json: Json = False,
    everything: Annotated[bool, typer.Option("--all", help="Not only what waits.")] = False,
) -> None:
    """List the requests that wait for votes.

    Example: `portcullis approvals`
    """
    columns: dict[str, Column] = {
        "request": "id",
        "state": "state",
        "asks for": "actions",
        "until, UTC": when("approve_by"),
    }
    show_list("Approvals", "/v1/approvals", columns, as_json=as_json, state=None if everything else "waiting")


def approve(
    approval: Annotated[str, typer.Argument(help="The request's id, apr_…")],
    *,
    code: Annotated[str | None, typer.Option(help="One-time code, for scripts; asked for otherwise.")] = None,
    check: Annotated[str | None, typer.Option(help="Check code, for scripts; asked for otherwise.")] = None,
    deny: Annotated[bool, typer.Option("--deny", help="Vote against it: one denial ends it.")] = False,
    key: Annotated[
        Path | None, typer.Option(help=f"{VOTES_FILE}, to check the signed vote; else {VOTES_VARIABLE}.")
    ] = None,
    sealing: Annotated[
        Path | None, typer.Option("--ballot-key", help=f"{BALLOTS_FILE}, to seal the vote; else {BALLOTS_VARIABLE}.")
    ] = None,
) -> None:
    """Read one request and vote on it.

    Both keys are copied once from the installation's public/ folder; on its own machine they are found there.

    Example: `portcullis approve apr_01JD2Z5Q8Z6W9X4V7T3S1R0Q8P`
    """
    out = console()
    sealed_for, signed_by = ballot_key(sealing), public_key(key, VOTES_VARIABLE, VOTES_FILE)
    with ApiClient(api_token()) as api:
        document, person = read_document(api, approval)
        show(out, document, person)
        typed = check or typer.prompt("Type the check code")
        if not is_check_code(typed, document.digest, person):
            raise InputError("this is not the check code of this document: read it again", field="check_code")
        paper = BallotPaper(
            check_code=typed,
            code=code or typer.prompt("One-time code", hide_input=True),
            decision="deny" if deny else "approve",
        )
        sealed = sealed_text(sealed_for, filled(paper), associated_data(BALLOT_TAG, person, document.digest))
        answer = api.post(f"/v1/approvals/{document.id}/votes", {"sealed": sealed})
    told = checked_vote(document, person, paper.decision, answer, signed_by)
    out.print(f"{told} The request is now: {plain(answer['state'])}.")


def read_document(api: ApiClient, approval: str) -> tuple[ActionDocument, str]:
    """Return a request's document and the caller's person id.

    Raises ConflictError when the API's own account of the document does not agree with the document.
    """
    found = api.get(f"/v1/approvals/{segment(approval)}")
    document = parse(str(found["document"]))
    person = str(api.get("/v1/people/me")["id"])
    if document.id != approval or found["digest"] != document.digest:
        raise ConflictError("the API shows another document than the stored one: do not vote, and raise the alarm")
    if found.get("check_code") != check_code(document.digest, person):
        raise ConflictError("the API shows another check code than this document has: do not vote, raise the alarm")
    return document, person


def show(out: Console, document: ActionDocument, person: str) -> None:
    """Print the document's sentences, as plain text, and the check code of this person.

    Each begins at a mark, so that no text can look like another sentence by where it is wrapped.
    """
    lines = Table.grid(padding=(0, 1))
    for line in sentences(document):
        lines.add_row("-", Text(plain(line)))
    out.print(Panel(lines, title=f"Request {document.id}", subtitle=f"digest {document.digest[:16]}…"))
    out.print(Text.assemble("Check code for you: ", (check_code(document.digest, person), "bold")))


def checked_vote(
    document: ActionDocument, person: str, decision: str, answer: dict[str, Any], key: bytes | None
) -> str:
    """Return a sentence about the stored vote. Raises ApprovalError when the signed vote is not the one that was meant."""
    if key is None:
        return f"Your vote is stored; it was not checked here, because {VOTES_VARIABLE} names no key."
    vote = opened_vote(Signed(str(answer["statement"]), bytes.fromhex(str(answer["signature"]))), key)
    if (vote.digest, vote.person, vote.decision) != (document.digest, person, decision):
        raise ApprovalError("another vote came back than the one you cast: raise the alarm at once")
    return "Your vote is stored, and the authority signed exactly what you read."
