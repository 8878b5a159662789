"""What was unsealed is kept for a moment and found by its sealed bytes and what they are bound to, together."""

import threading
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hsm.errors import HsmInputError
from service.domain.errors import RefusedByOtherSideError
from service.domain.ids import ConnectionId
from service.domain.setup import secret_aad
from workers.opened import Opened
from workers.roots import _configured


def test_what_is_kept_is_unsealed_once_and_another_secret_anew() -> None:
    opened, asked = Opened(kept_s=3600), list[tuple[bytes, bytes]]()

    def unseal(sealed: bytes, aad: bytes) -> bytes:
        asked.append((aad, sealed))
        return sealed.upper()

    for aad, sealed in ((b"1", b"a"), (b"1", b"a"), (b"1", b"b"), (b"2", b"a"), (b"1", b"a"), (b"2", b"a")):
        assert opened.get(aad, sealed, unseal) == sealed.upper()
    assert asked == [(b"1", b"a"), (b"1", b"b"), (b"2", b"a")]
    assert b"A".decode() not in repr(opened).replace("Opened", "")


class Secrets:
    """Unseals what begins with the data that it is bound to."""

    def unseal(self, sealed: bytes, aad: bytes) -> bytes:
        bound, _, content = sealed.partition(b"|")
        if bound != aad:
            raise HsmInputError("sealed for something else")
        return content


def test_bytes_copied_into_the_row_of_another_connection_open_nothing() -> None:
    sealed = secret_aad("mine", "token") + b"|hush"
    token, opened = cast("Any", SimpleNamespace(secrets=Secrets())), Opened(kept_s=3600)

    def secret(connection: str, name: str) -> bytes:
        row = cast("Any", SimpleNamespace(id=ConnectionId(connection), platform="standard", settings={}))
        config, _ = _configured(token, opened, (row, {name: sealed}))
        return config.secret(name)

    assert secret("mine", "token") == b"hush"
    for connection, name in (("thief", "token"), ("mine", "other")):
        with pytest.raises(RefusedByOtherSideError):
            secret(connection, name)


def test_it_is_dropped_when_its_time_is_over_though_nobody_asks() -> None:
    opened, before = Opened(kept_s=0.01), set(threading.enumerate())
    opened.get(b"1", b"a", lambda *_: b"secret")
    for timer in set(threading.enumerate()) - before:
        timer.join(60)
    assert repr(opened) == "Opened(0 secrets)"
    assert opened.get(b"1", b"a", lambda *_: b"anew") == b"anew"


def test_a_failure_is_kept_for_nobody() -> None:
    opened = Opened()

    def fail(*_: bytes) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        opened.get(b"1", b"a", fail)
    assert repr(opened) == "Opened(0 secrets)"
