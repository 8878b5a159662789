"""The schedule process: Celery beat, which only reminds. Nothing depends on it: the sweepers find what is late anyway."""

from typing import Any, Final

from celery import Celery
from celery.beat import Scheduler, Service

from service.flow.routes import QUEUES

REMINDERS: Final = {
    "audit.sequence": 2.0,
    "approve.expire": 15.0,
    "keys.refresh": 60.0,
    "reconcile.suppressions": 60.0,
}
"""Job → every so many seconds."""


def make_beat(app: Celery) -> Any:
    """Return the beat service; its state is in memory, because it has none worth keeping."""
    app.conf.beat_schedule = {
        job: {
            "task": job,
            "schedule": every_s,
            "kwargs": {"payload": {}},
            "options": {"queue": QUEUES[job.partition(".")[0]], "expires": every_s * 4},
        }
        for job, every_s in REMINDERS.items()
    }
    return Service(app, scheduler_cls=Scheduler)
