"""What must be true after bench/chaos.py, read from the platform's own record and from the database, asking no process.

Rules: what was answered 200 is stored; each containment step acted at the platform exactly once; where the platform keeps
no ids, at most once, and the step says `unknown` or has the platform's receipt; every step has ended or waits for people;
each request that people voted on was decided, by votes that the authority signed; the co-signer of the Fireblocks face was
answered by right and once (`bench/chaos_cosigner.py`); each new key signs and each restricted one refuses, by trying
(`bench/chaos_keys.py`); every part runs again; audit log and baselines prove themselves.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import psycopg
from psycopg.rows import dict_row

from bench import chaos_keys
from bench.chaos_cosigner import contradictions
from bench.chaos_fireblocks import FIREBLOCKS
from bench.chaos_stage import FORGETFUL, VAULT, Stage
from drills.runner.proofs import prove
from service.domain.errors import ApprovalError
from service.domain.signed import verify
from service.runtime.environment import read_environment
from service.runtime.layout import Layout

WAITING = frozenset({"waiting_approval", "waiting_step"})
ENDED = frozenset({"done", "failed", "refused", "expired", "undone"})
ACTION_OF = {"suspend_withdrawals": "hold_outgoing", "lock_destination": "lock_destination"}
"""Steps that make one call, by the platform's word for it."""


@dataclass(frozen=True, slots=True)
class Proof:
    """One thing that must be so, and what was found where it is not."""

    name: str
    holds: bool
    found: str = ""


def moving(layout: Layout) -> list[str]:
    """Return what has not come to rest: alerts without an incident, incidents without a plan, steps under way."""
    queries = (
        ("alert without an incident", "SELECT id FROM alerts WHERE incident_id IS NULL"),
        (
            "incident without a plan",
            "SELECT id FROM incidents i WHERE NOT EXISTS (SELECT FROM plans p WHERE p.incident_id = i.id)",
        ),
        ("step", "SELECT action || ' ' || state AS id FROM steps WHERE state IN ('ready', 'running', 'verifying')"),
        ("step that is asked about again", _IN_DOUBT),
        ("step that nobody told of", _UNTOLD),
    )
    with database(layout) as db:
        return [f"{what}: {row['id']}" for what, query in queries for row in db.execute(query)]


_IN_DOUBT = f"""
    SELECT action || ' ' || state AS id FROM steps WHERE state = 'unknown' AND target ->> 'connection' <> '{FORGETFUL}'
"""  # noqa: S608  a constant
"""Where the other side can be asked, an unknown outcome is settled by asking."""
_UNTOLD = """
    SELECT s.action || ' ' || s.state AS id FROM steps s WHERE s.state = 'waiting_step' AND NOT EXISTS (
        SELECT FROM steps b WHERE b.id = ANY(s.after) AND b.state NOT IN ('done', 'failed', 'refused', 'expired'))
"""
"""A step whose predecessors have all ended must not wait for them."""


def proofs(
    stage: Stage, taken: set[tuple[str, str]], attacked: Sequence[tuple[str, str]], asked: Sequence[str]
) -> list[Proof]:
    """Look at everything; each proof names what contradicts it. `asked`: the requests that people voted on."""
    with database(stage.layout) as db:
        stored = {
            (r["connection_id"], r["event_id"]) for r in db.execute("SELECT connection_id, event_id FROM activities")
        }
        steps = db.execute("SELECT * FROM steps ORDER BY plan_id, position").fetchall()
        undecided = _undecided(db, asked, (stage.layout.public / "authority-votes.pem").read_bytes())
        robbed = [ref for connection, ref in attacked if connection == FIREBLOCKS and ref in stage.workspace.robbed]
        at_fireblocks = contradictions(db, stage.workspace, robbed) if stage.workspace.attacked else {}
        vault = _promised(db, steps)
    arrivals = [a for a in stage.platform.actions() if not str(a["id"]).startswith("bench-")]
    found = [
        _proof("every webhook that was answered 200 is stored", taken - stored),
        _proof("every attacked account has its holding step", _unheld(steps, attacked)),
        _proof("every step has ended or waits for people", _stuck(steps)),
        _proof("every effect happened exactly once", _repeated(steps, arrivals)),
        _proof("nothing acted without a step", {a["id"] for a in arrivals} - _keys(steps, arrivals)),
        _proof("without ids at the platform: at most once, and what is not known says so", _forgetful(steps, arrivals)),
    ]
    found += [
        *(_proof(name, wrong) for name, wrong in at_fireblocks.items()),
        _proof("each new key that was promised signs, and each restricted key refuses", _keys_wrong(stage, vault)),
        _proof("what people voted on is decided, and every vote verifies", undecided),
        _proof("every part runs again", _absent(stage.layout)),
    ]
    checks, said = prove(Path(stage.layout.home))
    return [*found, *(Proof(name, held, "" if held else "; ".join(said)) for name, held in checks)]


def _unheld(steps: Sequence[Mapping[str, Any]], attacked: Sequence[tuple[str, str]]) -> list[str]:
    held = {_place(s): s["state"] for s in steps if s["action"] == "suspend_withdrawals"}
    fine = {FORGETFUL: {"unknown", "done"}}
    return [f"{one}: {held.get(one)}" for one in attacked if held.get(one) not in fine.get(one[0], {"done"})]


def _stuck(steps: Sequence[Mapping[str, Any]]) -> list[str]:
    found = []
    for step in steps:
        waits = step["state"] in WAITING or (step["state"] == "unknown" and _place(step)[0] == FORGETFUL)
        if step["state"] == "failed" or not (waits or step["state"] in ENDED):
            found.append(f"{step['action']} on {_place(step)} is {step['state']}: {step['reason']}")
    return found


def _repeated(steps: Sequence[Mapping[str, Any]], arrivals: Sequence[Mapping[str, Any]]) -> list[str]:
    acted = Counter((a["action"], a["account"], a["on"]) for a in arrivals if a["acted"])
    found = [f"{' '.join(what)} acted {n} times" for what, n in acted.items() if n > 1]
    for step in steps:
        what = ACTION_OF.get(step["action"])
        account, value = step["target"]["account"], step["target"]["value"]
        times = acted[what or "", account or value, "" if account is None else value]
        if _place(step)[0] == FIREBLOCKS:
            continue  # its holds are our gate's
        if what and step["state"] == "done" and times != 1:
            found.append(f"{step['action']} on {value} is done, but acted {times} times")
    return found


def _forgetful(steps: Sequence[Mapping[str, Any]], arrivals: Sequence[Mapping[str, Any]]) -> list[str]:
    asked = Counter(str(a["id"]) for a in arrivals if str(a["account"]).startswith(FORGETFUL))
    found = [f"{key} arrived {n} times" for key, n in asked.items() if n > 1]
    mine = [s for s in steps if _place(s)[0] == FORGETFUL]
    return found + [f"{s['action']} is {s['state']}" for s in mine if s["state"] in {"failed", "running", "verifying"}]


def _undecided(db: "psycopg.Connection[dict[str, Any]]", asked: Sequence[str], votes_key_pem: bytes) -> list[str]:
    query = "SELECT id, state FROM approvals WHERE id = ANY(%s) AND state NOT IN ('approved', 'executed')"
    found = [f"{row['id']} is {row['state']}" for row in db.execute(query, (list(asked),))]
    cast = db.execute("SELECT * FROM votes WHERE approval_id = ANY(%s)", (list(asked),)).fetchall()
    for vote in cast:
        try:
            verify(votes_key_pem, vote["statement"].encode(), vote["signature"])
        except ApprovalError as error:
            found.append(f"the vote {vote['id']} does not verify: {error}")
    return found + [f"{one} has no vote" for one in set(asked) - {vote["approval_id"] for vote in cast}]


def _promised(db: "psycopg.Connection[dict[str, Any]]", steps: Sequence[Mapping[str, Any]]) -> dict[str, bool]:
    """Return the vault's accounts to which a new key was promised, and whether their old keys were restricted."""
    named = {
        r["ref"]: str(r["id"]) for r in db.execute("SELECT id, ref FROM accounts WHERE connection_id = %s", (VAULT,))
    }
    done = {(s["action"], _place(s)[1]) for s in steps if s["state"] == "done" and _place(s)[0] == VAULT}
    return {id_: ("restrict_key", ref) in done for ref, id_ in named.items() if ("prepare_rotation", ref) in done}


def _keys_wrong(stage: Stage, accounts: dict[str, bool]) -> list[str]:
    attacked = stage.cast.of(VAULT)
    parts = json.loads(stage.layout.state_file.read_text())["parts"]
    pid = next((one["pid"] for one in parts if one["name"] == chaos_keys.KEYS), None)
    if not attacked or pid is None:
        return ["the key worker does not run"] if attacked else []
    told = chaos_keys.ask(stage.layout, int(pid), accounts)
    lacking = (
        [f"only {len(accounts)} of {len(attacked)} accounts have a new key"] if len(accounts) < len(attacked) else []
    )
    unasked = [] if told.refusing and told.answering else [f"{told.answering} keys answered, {told.refusing} refused"]
    return [*told.wrong, *lacking, *unasked]


def _absent(layout: Layout) -> list[str]:
    parts = json.loads(layout.state_file.read_text())["parts"]
    return [f"{one['name']} does not run" for one in parts if one["pid"] is None or not psutil.pid_exists(one["pid"])]


def _keys(steps: Sequence[Mapping[str, Any]], arrivals: Sequence[Mapping[str, Any]]) -> set[str]:
    keys = [str(s["idempotency_key"]) for s in steps]
    return {
        str(a["id"])
        for a in arrivals
        if any(str(a["id"]).partition(":")[0] in key or key in str(a["id"]) for key in keys)
    }


def _place(step: Mapping[str, Any]) -> tuple[str, str]:
    return step["target"]["connection"], step["target"]["value"]


def _proof(name: str, contradictions: Any) -> Proof:
    found = sorted(str(one) for one in contradictions)
    shown = "; ".join(found[:5]) + (f"; and {len(found) - 5} more" if len(found) > 5 else "")
    return Proof(name, not found, shown)


def holds_ms(stage: Stage) -> dict[str, float]:
    """Return when the platform first acted on a hold of each account, in Unix milliseconds."""
    found: dict[str, float] = {}
    for one in stage.platform.actions():
        if one["action"] == "hold_outgoing" and one["acted"] and not str(one["id"]).startswith("bench-"):
            found.setdefault(str(one["account"]), float(one["at_ms"]))
    return found


def database(layout: Layout) -> "psycopg.Connection[dict[str, Any]]":
    """Open the installation's database to read."""
    url = (read_environment(layout, "schedule") or {})["PORTCULLIS_DATABASE_URL"]
    return psycopg.connect(url, row_factory=dict_row, autocommit=True)
