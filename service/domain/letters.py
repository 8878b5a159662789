"""The texts of messages, one function a kind, in plain sentences.

Messages to users say what was done and what the user should do; never amounts of others, addresses in full, or how the
attack was found. Messages that ask for a vote carry the sentences of the document and never its check code; a receipt
carries it, because whoever has voted on a document cannot vote on it again.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from service.domain.approval import ActionDocument, check_code, sentences
from service.domain.attention import Spent
from service.domain.authorisation import Vote
from service.domain.incident import Incident

_STOPS: Final[Mapping[Spent, str]] = {
    Spent.REJECTIONS: "the half that rejections get. Rejections wait; locks, owner changes and sweeps go on.",
    Spent.EVERYTHING: "all of it. Locks, owner changes and sweeps wait, too, until what it used is an hour ago.",
}
_FACTOR_WORDS: Final[Mapping[str, str]] = {
    "shown": "The code that enrols a new authenticator for you was shown",
    "confirmed": "A new authenticator was confirmed for you",
}


def contained_for_users(incident: Incident) -> tuple[str, str]:
    """Return subject and body for users, once the incident is contained."""
    day = incident.opened_at.strftime("%Y-%m-%d %H:%M UTC")
    body = (
        f"On {day} our systems saw activity that did not look right and paused withdrawals from the affected wallets "
        "within moments. We are moving the funds behind new keys.\n\n"
        "You do not have to do anything. Please do not send deposits to addresses you saved earlier until we tell you "
        f"that new ones are ready.\n\nReference: {incident.id}"
    )
    return "We have paused withdrawals as a precaution", body


def contained_for_responders(incident: Incident) -> tuple[str, str]:
    """Return subject and body for those on call, once the incident is contained."""
    body = (
        f"Every hold of incident {incident.id} is in force and verified. What loosens or cannot be taken back waits "
        "for its quorum: portcullis approvals"
    )
    return f"[contained] {incident.title}", body


def approval_request(incident_id: str | None, approval_id: str, sentences: Sequence[str], by: str) -> tuple[str, str]:
    """Return subject and body that ask one approver to look at a document; `by` is the time it must be decided by."""
    what = "\n".join(f"  - {s}" for s in sentences)
    about = f" for incident {incident_id}" if incident_id else ""
    body = (
        f"These need a quorum{about}:\n\n{what}\n\nRead the document and vote until {by}:\n"
        f"  portcullis approve {approval_id}\n"
        "The check code is shown there, worked out from the document itself; it is never sent by mail."
    )
    return f"[approve] your vote is needed{about}", body


def vote_receipt(document: ActionDocument, vote: Vote) -> tuple[str, str]:
    """Return subject and body that tell a voter what his vote was counted for."""
    word = "approved" if vote.decision == "approve" else "denied"
    what = "\n".join(f"  - {s}" for s in sentences(document))
    body = (
        f"You {word} request {document.id} at {_moment(vote.at)}. This is what your vote was counted for:\n\n{what}\n\n"
        f"Your check code of exactly this document is {check_code(document.digest, vote.person)}.\n"
        "If you read anything else, or another check code, before you gave your code, somebody stands between you and the "
        "authority: warn the others, and have an administrator suspend you at once (change.person.suspend). The votes of "
        "a suspended person do not count, so what has not run yet will not run on this one."
    )
    return f"[voted] you {word} {document.id}", body


def factor_changed(what: str, at: datetime) -> tuple[str, str]:
    """Return subject and body that tell a person of a change of his factor; `what` is shown or confirmed."""
    body = (
        f"{_FACTOR_WORDS[what]} at {_moment(at)}.\n\nIf this was not you, somebody else is about to vote in your name: have "
        "an administrator revoke the factor at once (change.factor.revoke). After set-up a new factor counts only 24 "
        "hours after it was confirmed."
    )
    return f"[factor] {_FACTOR_WORDS[what]}", body


def step_trouble(incident_id: str, sentence: str) -> tuple[str, str]:
    """Return subject and body about a step that failed or whose outcome is unknown."""
    return (f"[step] {incident_id}: a containment step needs you", f"{sentence}\n\nportcullis incident {incident_id}")


def not_final(incident_id: str, step: str) -> tuple[str, str]:
    """Return subject and body about a step on a chain that no final block shows after a day."""
    body = (
        f"{step} was done a day ago, and no final block of its chain shows it yet. It is not looked at any more, nor done "
        f"again by itself: look at the chain, and ask for it anew if it is gone.\n\nportcullis incident {incident_id}"
    )
    return f"[step] {incident_id}: a containment step is not final after a day", body


def connection_lost(connection: str, incident_id: str, since: datetime) -> tuple[str, str]:
    """Return subject and body that say that a platform answers nothing, while holds wait for it."""
    body = (
        f"The platform of connection {connection} has answered nothing since {_moment(since)}. Its containment steps wait "
        "and are tried again by themselves; our own gate before signing keeps holding. Act at the platform by hand where "
        f"you can, and find out why it is silent.\n\nportcullis incident {incident_id}"
    )
    return f"[platform] {connection} does not answer", body


def guardian_spent(chain: str, what: Spent) -> tuple[str, str]:
    """Return subject and body that say what the guardian may use no more gas for on a chain this hour."""
    body = (
        f"The guardian of multisigs has used up its gas of an hour on {chain}: {_STOPS[what]} Look at what asks for so "
        "much: an owner's key that floods the Safe transaction service, or more Safes at once than the limit was made for "
        "(docs/limits.md). Transactions of a Safe that is not locked can be stopped by its owners by hand."
    )
    return f"[guardian] gas of the hour is used up on {chain} for {what}", body


def channel_lost(channel: str, since: datetime) -> tuple[str, str]:
    """Return subject and body that say that a channel takes no messages."""
    body = (
        f"The channel {channel} has taken no message since {_moment(since)}. What waits for it is tried again by itself, "
        "and pages also go over people's other channels. Find out why it is silent, or give people another one."
    )
    return f"[channel] {channel} takes no messages", body


def _moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
