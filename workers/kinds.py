"""The kinds of worker: which queues each consumes, how many children it has and how it is wired."""

from collections.abc import Mapping
from typing import Final

from service.flow.routes import JOBS_OF, QUEUES, jobs_of
from workers.process import WorkerKind
from workers.reconcile import DESTRUCTION, FINALITY, TIMER
from workers.roots import check_actions, check_all, containment_root, keys_root
from workers.schedule import REMINDERS

JOBS: Final = frozenset(job for jobs in JOBS_OF.values() for job in jobs) | frozenset(
    [
        *REMINDERS,
        DESTRUCTION,
        FINALITY,
        TIMER,
        jobs_of("step_ready", {"lane": "keys"})[0],
        jobs_of("step_ready", {"lane": "containment"})[0],
    ]
)
"""Every job there is."""


def _jobs_in(*queues: str) -> tuple[str, ...]:
    return tuple(sorted(job for job in JOBS if QUEUES[job.partition(".")[0]] in queues))


_CONTAINMENT_QUEUES: Final = ("containment", "alarm", "release", "flow", "delivery")
ALARM: Final = ("-m", "workers", "alarm")
KINDS: Final[Mapping[str, WorkerKind]] = {
    "containment": WorkerKind(
        _CONTAINMENT_QUEUES, _jobs_in(*_CONTAINMENT_QUEUES), 3, containment_root, check_all, alarm=ALARM
    ),
    "keys": WorkerKind(("keys",), _jobs_in("keys"), 2, keys_root, check_actions),
}
