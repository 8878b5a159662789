"""Unit tests reach no network: a socket other than a Unix one (asyncio needs those) fails the test."""

import socket
from collections.abc import Iterator
from typing import Any, Self

import pytest
from pytest_socket import disable_socket, enable_socket


@pytest.fixture(autouse=True)
def no_network() -> Iterator[None]:
    before: Any = socket.socket
    disable_socket(allow_unix_socket=True)
    guarded: Any = socket.socket

    class OnlyAccepting(guarded):  # type: ignore[misc]  # pytest-socket makes its class while it runs
        """Lets a server that was started before go on accepting: it belongs to other tests of this process."""

        def __new__(cls, family: int = -1, type: int = -1, proto: int = -1, fileno: int | None = None) -> Self:  # noqa: A002  as the standard library names it
            if fileno is not None:
                accepted: Self = before.__new__(cls, family, type, proto, fileno)
                return accepted
            made: Self = guarded.__new__(cls, family, type, proto, fileno)
            return made

    socket.socket = OnlyAccepting  # type: ignore[misc]  # what pytest-socket itself does
    yield
    enable_socket()
