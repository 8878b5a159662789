"""One endpoint that speaks JSON-RPC 2.0, as execution clients do (Ethereum execution APIs).

Rules: an answer is bounded and typed before it is used; what is neither a result nor an error is no answer. No call is
repeated. An endpoint's URL may carry its key and is in no message, nor in the chain of causes that a log may print.
"""

from collections.abc import Sequence
from typing import Final, TypeVar

import httpx
import msgspec

from service.domain.errors import UnavailableError
from service.domain.evm import MAX_UNITS
from service.outgoing import new_client

_CONNECT_S: Final = 3.0
SHOWN: Final = 200
"""Characters of the endpoint's own words in a message of ours."""
Kind = TypeVar("Kind")


class _Error(msgspec.Struct):
    code: int = 0
    message: str = ""


class Answer(msgspec.Struct):
    """What one call was answered with: a result, not yet decoded, or a refusal."""

    result: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    error: _Error | None = None

    @property
    def refusal(self) -> str | None:
        """The endpoint's words of refusal; None when it did what was asked."""
        return None if self.error is None else self.error.message


class JsonRpc:
    """Calls of one endpoint. `most_bytes` bounds an answer, `timeout_s` the wait for each piece of it."""

    def __init__(self, endpoint: str, *, most_bytes: int, timeout_s: float) -> None:
        timeout = httpx.Timeout(timeout_s, connect=_CONNECT_S)
        self._client = new_client(timeout)
        self._endpoint = endpoint
        self._most_bytes = most_bytes

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def ask(self, method: str, params: Sequence[object], kind: type[Kind]) -> Kind:
        """Return a result of the kind. Raises UnavailableError for a refusal, too."""
        answer = self.answer(method, params)
        if answer.refusal is not None:
            raise UnavailableError(f"the chain's endpoint refused {method}: {answer.refusal[:SHOWN]}")
        return decoded(answer, method, kind)

    def answer(self, method: str, params: Sequence[object]) -> Answer:
        """Return a result or a refusal. Raises UnavailableError when there is neither."""
        try:
            return self.post(method, params)
        except httpx.HTTPError as error:
            raise UnavailableError(
                f"the chain's endpoint did not answer {method} ({type(error).__name__})"
            ) from None  # the original may quote the endpoint

    def post(self, method: str, params: Sequence[object]) -> Answer:
        """Return as `answer` does, but let httpx.HTTPError through: whether anything was sent stands in it alone."""
        call = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        body = bytearray()
        with self._client.stream("POST", self._endpoint, json=call) as response:
            if not response.is_success:
                raise UnavailableError(f"the chain's endpoint answered {method} with status {response.status_code}")
            for piece in response.iter_bytes():
                body += piece
                if len(body) > self._most_bytes:
                    raise UnavailableError(f"the chain's endpoint answered {method} with over {self._most_bytes} bytes")
        try:
            found = msgspec.json.decode(bytes(body), type=Answer)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnavailableError(f"the chain's endpoint answered {method} with no JSON-RPC") from error
        if found.error is None and found.result is msgspec.UNSET:
            raise UnavailableError(f"the chain's endpoint answered {method} with no JSON-RPC")
        return found


def decoded(answer: Answer, method: str, kind: type[Kind]) -> Kind:
    """Return an answer's result as its kind. Raises UnavailableError for one of another form."""
    try:
        return msgspec.json.decode(b"null" if answer.result is msgspec.UNSET else answer.result, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnavailableError(f"the chain's endpoint answered {method} in another form") from error


def quantity(told: object, of: str) -> int:
    """Return a quantity, 0 to MAX_UNITS, written as the execution APIs do. Raises UnavailableError naming what it is of."""
    try:
        found = int(told, 16) if isinstance(told, str) else -1
    except ValueError:
        found = -1
    if not 0 <= found <= MAX_UNITS:
        raise UnavailableError(f"the chain's endpoint answered {of} with no number that can be")
    return found
