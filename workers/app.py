"""The Celery application of one process: hands, not memory (design D2).

Rules: state lives in PostgreSQL, so there is no result backend; a message is acknowledged after the work and comes back
when its worker is lost; nothing waits in a worker (prefetch 1) or in the broker for longer than a minute; JSON only;
unknown job names are dropped; remote control and events are off, so that whoever reaches the broker commands nobody. A job
goes on when the broker dies under it: what it does at a platform needs no broker, and it may be delivered twice. The time
limits are below the visibility timeout, or a slow job would be delivered twice while it runs.
"""

from collections.abc import Iterable
from typing import Any, Final

from celery import Celery
from kombu.entity import Queue

from service.domain.secrets import Secret
from service.runtime.broker import broker_url
from workers.broker import keep_slots

VISIBILITY_S: Final = 300
SOFT_LIMIT_S: Final = 60
HARD_LIMIT_S: Final = 90
LONGEST_WAIT_S: Final = 60
"""No job is ever given to the broker for later than this; what is further off is a row with a due time."""


def make_app(redis_url: Secret, queues: Iterable[str] = ()) -> Celery:
    """Return the application, consuming `queues` when it is started as a worker."""
    keep_slots()
    app = Celery("portcullis", broker=broker_url(redis_url), set_as_current=False)
    app.conf.update(_SETTINGS)
    make: Any = Queue
    app.conf.task_queues = [make(name, routing_key=name) for name in queues]
    return app


def make_worker(app: Celery, process: str, queues: Iterable[str], children: int) -> Any:
    """Return a worker of the application, not started: `children` processes that talk to no other worker."""
    return app.Worker(
        hostname=f"{process}@portcullis",
        pool="prefork",
        concurrency=children,
        queues=list(queues),
        loglevel="WARNING",
        without_gossip=True,
        without_mingle=True,
        without_heartbeat=True,
        optimization="fair",
        quiet=True,
    )


_SETTINGS: Final[dict[str, Any]] = {
    "result_backend": None,
    "task_ignore_result": True,
    "task_store_errors_even_if_ignored": False,
    "task_acks_late": True,
    "task_reject_on_worker_lost": True,
    "task_acks_on_failure_or_timeout": True,
    "task_create_missing_queues": True,
    "task_serializer": "json",
    "accept_content": ["json"],
    "task_soft_time_limit": SOFT_LIMIT_S,
    "task_time_limit": HARD_LIMIT_S,
    "task_default_queue": "flow",
    "worker_prefetch_multiplier": 1,
    "worker_soft_shutdown_timeout": SOFT_LIMIT_S,
    "worker_enable_soft_shutdown_on_idle": False,
    "worker_eta_task_limit": 1000,
    "worker_cancel_long_running_tasks_on_connection_loss": False,
    "worker_max_tasks_per_child": 1000,
    "worker_enable_remote_control": False,
    "worker_send_task_events": False,
    "worker_hijack_root_logger": False,
    "worker_redirect_stdouts": False,
    "broker_connection_retry_on_startup": True,
    "broker_connection_max_retries": None,
    "visibility_timeout": VISIBILITY_S,
    "broker_transport_options": {
        "visibility_timeout": VISIBILITY_S,
        "queue_order_strategy": "workers.broker:HurriedCycle",
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 30,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 25,
        "retry_on_timeout": True,
    },
    "enable_utc": True,
    "timezone": "UTC",
}
