"""The texts of messages, one function a kind, in plain sentences.

Messages to users say what was done and what the user should do; never amounts of others, addresses in full, or how the
attack was found. Messages to approvers carry the sentences of the document and never its check code.
"""

from collections.abc import Sequence

from service.domain.incident import Incident


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


def step_trouble(incident_id: str, sentence: str) -> tuple[str, str]:
    """Return subject and body about a step that failed or whose outcome is unknown."""
    return (f"[step] {incident_id}: a containment step needs you", f"{sentence}\n\nportcullis incident {incident_id}")
