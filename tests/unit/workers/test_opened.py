"""What was unsealed is kept for a moment and found by its sealed bytes and what they are bound to."""

import threading

import pytest

from workers.opened import Opened


def test_what_is_kept_is_unsealed_once_and_another_secret_anew() -> None:
    opened, asked = Opened(kept_s=3600), list[bytes]()

    def unseal(sealed: bytes, _: bytes) -> bytes:
        asked.append(sealed)
        return sealed.upper()

    for sealed in (b"a", b"a", b"b", b"a"):
        assert opened.get(sealed, b"one", unseal) == sealed.upper()
    assert asked == [b"a", b"b"]
    assert b"A".decode() not in repr(opened).replace("Opened", "")


def test_it_is_dropped_when_its_time_is_over_though_nobody_asks() -> None:
    opened, before = Opened(kept_s=0.01), set(threading.enumerate())
    opened.get(b"a", b"one", lambda *_: b"secret")
    for timer in set(threading.enumerate()) - before:
        timer.join(60)
    assert repr(opened) == "Opened(0 secrets)"
    assert opened.get(b"a", b"one", lambda *_: b"anew") == b"anew"


def test_a_failure_is_kept_for_nobody() -> None:
    opened = Opened()

    def fail(*_: bytes) -> bytes:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        opened.get(b"a", b"one", fail)
    assert repr(opened) == "Opened(0 secrets)"


def test_sealed_bytes_in_the_row_of_another_connection_are_refused_though_they_are_kept() -> None:
    opened = Opened(kept_s=3600)

    def unseal(sealed: bytes, bound_to: bytes) -> bytes:
        if not sealed.startswith(bound_to):
            raise ZeroDivisionError
        return b"secret"

    assert opened.get(b"one:sealed", b"one", unseal) == b"secret"
    with pytest.raises(ZeroDivisionError):
        opened.get(b"one:sealed", b"another", unseal)
