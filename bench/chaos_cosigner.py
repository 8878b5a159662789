"""What must be true of the Fireblocks workspace after bench/chaos.py: from the platform's own record, ledger and our rows.

Rules: a question counts as answered when the platform verified the answer's signature and the request's id; whatever else
came (no answer, a refusal) fails the request there, so nothing is signed. An approval is right when it is of a usual payment
and our row of that request says so; a request has one answer for good. A step that is done at this platform is one hold of
our gate in force, or every waiting transfer cancelled there.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import psycopg

from bench.chaos_fireblocks import FIREBLOCKS, Workspace, of_accounts, source_of

_FOR_GOOD: Final = {"APPROVE": "approve", "REJECT": "reject"}
_FORGED: Final = frozenset({"CALLBACK_SIGNATURE_INVALID", "CALLBACK_ANSWER_INVALID", "CALLBACK_REQUEST_ID_MISMATCH"})


def contradictions(
    db: "psycopg.Connection[dict[str, Any]]", workspace: Workspace, robbed: Sequence[str]
) -> dict[str, list[str]]:
    """Return by what must be so what contradicts it. `robbed`: the accounts where a large transfer was ordered."""
    told, steps = workspace.platform.callbacks(), _steps(db)
    return {
        "the co-signer was answered APPROVE only by right": _wrong_approvals(db, workspace, told),
        "no request of the co-signer was answered twice differing, none with a forged answer": _differing(db, told),
        "at Fireblocks every hold is in force once, and what waited was cancelled": [
            *_holds(db, steps),
            *_uncancelled(workspace, robbed),
        ],
        "nothing left an account at Fireblocks that was attacked": _left(workspace),
    }


def answers(workspace: Workspace) -> dict[str, int]:
    """Count the co-signer's questions by what came of them."""
    found: dict[str, int] = defaultdict(int)
    for one in workspace.platform.callbacks():
        found[str(one["result"])] += 1
    return dict(found)


def _steps(db: "psycopg.Connection[dict[str, Any]]") -> list[dict[str, Any]]:
    query = "SELECT * FROM steps WHERE target ->> 'connection' = %s AND state = 'done'"
    return db.execute(query, (FIREBLOCKS,)).fetchall()


def _decided(db: "psycopg.Connection[dict[str, Any]]") -> dict[str, str]:
    query = "SELECT request_id, decision FROM decisions WHERE connection_id = %s"
    return {row["request_id"]: row["decision"] for row in db.execute(query, (FIREBLOCKS,))}


def _wrong_approvals(
    db: "psycopg.Connection[dict[str, Any]]", workspace: Workspace, told: Sequence[Mapping[str, Any]]
) -> list[str]:
    usual = {str(t["id"]) for t in of_accounts(workspace.platform, workspace.asked)}
    decided, wrong = _decided(db), []
    for one in told:
        if one["result"] != "APPROVE":
            continue
        request = str(one["request_id"])
        if request not in usual:
            wrong.append(f"{request} is no usual payment")
        if decided.get(request) != "approve":
            wrong.append(f"{request} was approved, and our row says {decided.get(request)}")
    return wrong


def _differing(db: "psycopg.Connection[dict[str, Any]]", told: Sequence[Mapping[str, Any]]) -> list[str]:
    final: dict[str, set[str]] = defaultdict(set)
    for one in told:
        if one["result"] in _FOR_GOOD:
            final[str(one["request_id"])].add(str(one["result"]))
    decided = _decided(db)
    wrong = [f"{request}: {sorted(several)}" for request, several in final.items() if len(several) > 1]
    wrong += [
        f"{request}: {answer}, and our row says {decided.get(request)}"
        for request, several in final.items()
        for answer in several
        if decided.get(request) != _FOR_GOOD[answer]
    ]
    return wrong + [f"{one['request_id']}: {one['result']}" for one in told if one["result"] in _FORGED]


def _holds(db: "psycopg.Connection[dict[str, Any]]", steps: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each done step has one hold, by its own key; two incidents may hold the same account."""
    query = "SELECT idempotency_key, count(*) AS n FROM gate_holds WHERE released_at IS NULL GROUP BY idempotency_key"
    held = {row["idempotency_key"]: row["n"] for row in db.execute(query)}
    holding = [s for s in steps if s["action"] in {"suspend_withdrawals", "lock_destination"}]
    return [
        f"{s['action']} on {s['target']['value']} is done and holds {held.get(s['idempotency_key'], 0)} times"
        for s in holding
        if held.get(s["idempotency_key"]) != 1
    ]


def _uncancelled(workspace: Workspace, robbed: Sequence[str]) -> list[str]:
    waited = of_accounts(workspace.platform, robbed)
    found = [f"{t['id']} of {source_of(t)} is {t['status']}" for t in waited if t["status"] != "CANCELLED"]
    return found + [f"{ref} had nothing to cancel" for ref in set(robbed) - {source_of(t) for t in waited}]


def _left(workspace: Workspace) -> list[str]:
    attacked = {workspace.address(ref) for ref in workspace.attacked}
    moved = workspace.platform.ledger()["movements"]
    return [f"{one['amount_base_units']} wei left {one['from']}" for one in moved if one["from"] in attacked]
