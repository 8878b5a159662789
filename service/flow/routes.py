"""The whole flow in one table: which jobs each event starts, and in which queue each job runs.

Debugging starts here: find the event in the timeline, read its row, then the one file that handles the job. Jobs are
named `queue.verb`; `workers/` binds each name to the function named beside it.
"""

from collections.abc import Mapping
from typing import Final

JOBS_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "alert_raised": ("triage.alert",),
    "activity_vouched": ("review.vouched",),
    "incident_opened": ("respond.plan", "escalate.start", "notify.incident"),
    "incident_widened": ("respond.extend", "escalate.start", "notify.incident"),
    "incident_acknowledged": ("escalate.acknowledged",),
    "incident_contained": ("notify.contained", "forensics.gather"),
    "incident_closed": ("review.write", "escalate.acknowledged", "approve.closed"),
    "plan_proposed": (),
    "blast_limit_reached": ("escalate.everyone",),
    "action_requested": ("respond.request",),
    "step_ready": ("contain.step",),  # or keys.step, by the event's lane
    "step_verified": ("respond.advance",),
    "step_unknown": ("notify.step",),
    "step_failed": ("notify.step", "respond.advance"),
    "step_not_final": ("notify.not_final",),
    "guardian_spent": ("escalate.guardian",),
    "connection_lost": ("notify.connection",),
    "approval_requested": ("notify.approvers",),
    "step_approved": (
        "approve.release",
        "notify.released",
        "escalate.released",
        "review.close",
        "review.clear",
        "review.blind",
        "review.settle",
    ),
    "vote_cast": ("notify.voted",),
    "factor_changed": ("notify.factor",),
    "approval_ended": ("approve.ended",),
    "message_queued": ("notify.deliver",),
    "account_registered": ("keys.provision",),
    "evidence_pending": ("forensics.gather",),
    "evidence_requested": ("forensics.again",),
    "review_written": (),
}
"""Every event of `domain/events.py` has a row; tests hold the two equal."""

URGENT: Final = frozenset({"respond.plan", "respond.extend", "contain.step"})
"""Jobs between an alert and the hold: the worker whose commit made one due begins it at once by itself (ADR 0029).

They are published like all others, so that one that was begun and not finished is done by somebody else.
"""

QUEUES: Final[Mapping[str, str]] = {
    "triage": "alarm",
    "respond": "flow",
    "escalate": "flow",
    "review": "flow",
    "forensics": "flow",
    "approve": "release",
    "notify": "delivery",
    "contain": "containment",
    "poll": "delivery",
    "keys": "keys",
    "audit": "flow",
    "reconcile": "flow",
}
"""The queue of a job by the first word of its name. `keys` is read by the key worker alone.

What people approved has a queue of its own, because in `flow` it stood behind one `respond.advance` for each step of the
plan, and a sweep that waits loses what it was approved for. Alerts have one, because a hold waits for them.
"""

HURRIED: Final = ("alarm", "containment", "release")
"""Queues that a worker looks into first, three times out of four; the fourth time all have their turn, so that a flood of
alerts keeps no page from being sent. Alerts lead to the holds of accounts that nothing holds yet, and go before the other
steps of those that are held; every other time steps go first, so that a flood of alerts keeps none of them for long."""


def jobs_of(event: str, payload: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of the jobs that an event starts.

    Raises KeyError for an event without a row: a wrong row must stop a test, not lose an event.
    """
    if event == "step_ready" and payload.get("lane") == "keys":
        return ("keys.step",)
    return JOBS_OF[event]
