from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from kombu.transport.redis import Channel, QoS

from service.domain.secrets import Secret
from workers.app import make_app
from workers.broker import ForgivingQoS


class LostChannel:
    """A channel whose broker does not answer."""

    do_restore = False

    def conn_or_acquire(self, client: object = None) -> AbstractContextManager[Any]:
        raise ConnectionError("the broker is away")


def working_on_one(kind: type[Any]) -> Any:
    qos = kind(LostChannel(), prefetch_count=1)
    qos._delivered["tag"] = object()
    assert not qos.can_consume()
    return qos


ENDINGS: list[Callable[[Any], None]] = [
    lambda qos: qos.ack("tag"),
    lambda qos: qos.reject("tag"),
    lambda qos: qos.reject("tag", requeue=True),
]


@pytest.mark.parametrize("end", ENDINGS)
def test_a_job_that_ends_while_the_broker_is_away_frees_its_slot(end: Callable[[Any], None]) -> None:
    qos = working_on_one(ForgivingQoS)
    with pytest.raises(ConnectionError):
        end(qos)
    assert qos.can_consume()


@pytest.mark.parametrize("end", ENDINGS[:2])
def test_kombu_alone_would_keep_it_for_ever(end: Callable[[Any], None]) -> None:
    qos = working_on_one(QoS)
    with pytest.raises(ConnectionError):
        end(qos)
    assert not qos.can_consume()


def test_every_worker_uses_it() -> None:
    make_app(Secret("redis://127.0.0.1:1/0"))
    assert Channel.QoS is ForgivingQoS
