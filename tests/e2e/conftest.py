"""One installation for all end-to-end tests of a session that may share it."""

from collections.abc import Iterator

import pytest

from tests.support.stack import Stack, running_stack


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """A running installation. Tests use accounts and event ids of their own."""
    with running_stack() as found:
        yield found
