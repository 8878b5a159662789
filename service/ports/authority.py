"""What other processes ask of the authority over its Unix socket."""

from collections.abc import Mapping
from typing import Protocol


class Authority(Protocol):
    """The vote-checking process. Its answers are JSON; its errors are the service's errors by code."""

    def call(self, path: str, body: Mapping[str, object]) -> Mapping[str, object]:
        """POST `body` to `path`.

        Raises the PortcullisError that the authority answered with, or UnavailableError when it is not there.
        """
        ...
