"""The guard itself: unit tests open no connection, and do not break servers that were there before."""

import socket

import pytest
from pytest_socket import SocketBlockedError


def test_a_connection_is_refused() -> None:
    with pytest.raises((SocketBlockedError, UserWarning)):
        socket.create_connection(("127.0.0.1", 9), timeout=1)


def test_a_file_descriptor_that_was_accepted_may_be_wrapped() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        wrapped = socket.socket(fileno=ours.detach())
        wrapped.close()
