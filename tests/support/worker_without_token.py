"""A real containment worker whose root opens no token: the rest, from Celery to the lease, is the shipped code.

Run as `python -m tests.support.worker_without_token ACTION_BASE_URL` with the usual settings in the environment.
"""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from service import log
from service.actions.base import actions_in
from service.clock import SystemClock
from service.config import Settings, read_settings
from service.custody.standard.calls import StandardCalls
from service.domain.ids import ConnectionId
from service.domain.plan import Lane
from service.flow.contain import Hands
from service.flow.forensics import Tracer
from service.flow.respond import Desk
from service.playbooks.loader import load
from service.ports.custody import ConnectionConfig, ContainmentCalls
from service.store.database import SqlDatabase, create
from service.store.gate_holds import SqlGateHolds
from workers import containment, incidents
from workers.alarm import Alarm
from workers.hurry import Hurry
from workers.jobs import Jobs
from workers.leases import keeper
from workers.process import WorkerKind, run
from workers.publish import Message
from workers.rehearsal import rehearse
from workers.roots import check_actions
from workers.straight import Straight

SECRET = b"whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
QUEUES = ("containment", "alarm", "flow")
JOBS = (
    "triage.alert",
    "respond.plan",
    "respond.extend",
    "respond.advance",
    "contain.step",
    "approve.release",
    "audit.sequence",
)


@dataclass(frozen=True, slots=True)
class TokenlessRoot:
    db: SqlDatabase
    jobs: Jobs
    hurry: Hurry
    rehearse: Callable[[], object]
    straight: Straight

    def alert(self, message: Message, more: Callable[[], bool]) -> None:
        self.straight.go(self, message, more)

    def finish(self) -> bool:
        return self.straight.finish(self)

    def close(self) -> None:
        self.db.engine.dispose()


def platform_calls(db: SqlDatabase, base: str, connection: ConnectionId) -> ContainmentCalls:
    settings = {"action_url": f"{base}/action", "status_url": f"{base}/status"}
    config = ConnectionConfig(connection, "standard", settings, lambda _: SECRET, ("action_secret",))
    return StandardCalls(config, SqlGateHolds(db))


def no_votes_key() -> bytes:
    return b"no vote is ever valid here"


def build(base: str, settings: Settings) -> TokenlessRoot:
    hurry = Hurry()
    db = SqlDatabase(create(settings.database_url, pool_size=2), SystemClock(), hurry.note)
    actions = actions_in("service.actions")
    hands = Hands(
        db=db,
        clock=SystemClock(),
        owner=f"test:{os.getpid()}",
        lane=Lane.CONTAINMENT,
        actions=actions,
        votes_key_pem=no_votes_key,
        keep=keeper(db),
        platform=partial(platform_calls, db, base),
    )
    desk = Desk(db, actions, load(actions), no_votes_key)
    tracer = Tracer(db, {}, {}, SystemClock())
    known = {**incidents.jobs(db, desk, no_votes_key, tracer), **containment.jobs(hands)}
    return TokenlessRoot(db, known, hurry, partial(rehearse, db, desk, hands), Straight(db, desk, hands))


if __name__ == "__main__":
    found = read_settings()
    log.configure(found.process)
    base, *told = sys.argv[1:]
    if told:
        ready_to, worker = map(int, told)
        sys.exit(Alarm(found, partial(build, base), ready_to, worker).run())
    again = ("-m", "tests.support.worker_without_token", base)
    sys.exit(run(found, WorkerKind(QUEUES, JOBS, 2, partial(build, base), check_actions, alarm=again)))
