"""Asking the authority over its Unix socket; implements `ports.authority.Authority` with httpx.

Rules: a call that never reached the authority is `UnavailableError` and may be repeated; one whose answer was lost is
`UnknownOutcomeError`, because a vote may have been stored; errors come back as the class of their code.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import httpx

from service.domain.errors import PortcullisError, UnavailableError, UnknownOutcomeError, from_code
from service.outgoing import bounded

TIMEOUT: Final = httpx.Timeout(20.0, connect=2.0)


class UnixSocketAuthority:
    """See the port. One client is shared by the threads of a process."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._client = httpx.Client(
            transport=bounded(httpx.HTTPTransport(uds=str(socket))), base_url="http://authority", timeout=TIMEOUT
        )

    def call(self, path: str, body: Mapping[str, object]) -> Mapping[str, object]:
        """POST a body and return the result; see the port."""
        if not self._socket.exists():
            raise _absent()
        try:
            answer = self._client.post(path, json=dict(body))
            envelope = answer.json()
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise _absent() from error
        except (httpx.TransportError, ValueError) as error:
            raise UnknownOutcomeError(
                "the authority's answer was lost: look at the request before trying again"
            ) from error
        if "error" in envelope:
            raise _error(envelope["error"])
        result = envelope["result"]
        return result if isinstance(result, dict) else {"result": result}

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def _absent() -> UnavailableError:
    return UnavailableError("the authority is not there: nothing was decided, try again", retry_after_s=2)


def _error(told: Mapping[str, object]) -> PortcullisError:
    field = told.get("field")
    after = told.get("retry_after_s")
    return from_code(
        str(told.get("code")),
        str(told.get("message")),
        field=field if isinstance(field, str) else None,
        retry_after_s=float(after) if isinstance(after, int | float) else None,
    )
