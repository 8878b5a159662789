"""A Safe transaction service over HTTP: what waits for signatures, and proposing what our owners signed.

Rules: the service is an outsider and is believed nothing that moves money: a transaction is known to it by the hash that we
computed. An answer that was lost after sending is an unknown outcome, settled by asking for that hash. Answers are bounded
and typed before use; redirects are not followed. The URL may carry a key and is therefore in no message.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Final

import httpx
import msgspec

from service.domain.errors import RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.evm import MAX_UNITS
from service.domain.safe import MOST_OWNERS, ZERO, SafeTransaction
from service.domain.safe_queue import MOST_AHEAD, Claim, Queued, Waiting, checksummed, proposal
from service.outgoing import new_client

_TIMEOUT: Final = httpx.Timeout(10.0, connect=3.0)
_MAX_ANSWER_BYTES: Final = 4_000_000
_MOST_TOLD: Final = 100
_NOT_SENT: Final = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)

Address = Annotated[str, msgspec.Meta(pattern=r"^0x[0-9a-fA-F]{40}\Z")]
Number = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{1,78}\Z")]
Operation = Annotated[int, msgspec.Meta(ge=0, le=1)]
Hex = Annotated[str, msgspec.Meta(pattern=r"^0x([0-9a-fA-F]{2})*\Z")]


class _Confirmed(msgspec.Struct):
    owner: Address
    signature: Hex | None = None


class _Told(msgspec.Struct, rename="camel"):
    nonce: int | Number
    to: Address
    value: Number
    operation: Operation
    safe_tx_gas: int | Number
    base_gas: int | Number
    gas_price: int | Number
    gas_token: Address | None = None
    refund_receiver: Address | None = None
    data: Hex | None = None
    confirmations: list[_Confirmed] | None = None


class _Page(msgspec.Struct):
    results: list[_Told]
    next: str | None = None


class _One(msgspec.Struct):
    confirmations: list[_Confirmed] | None = None


class HttpSafeService:
    """Implements `ports.multisig.SafeService` for one chain."""

    def __init__(self, endpoint: str) -> None:
        self._client = new_client(_TIMEOUT)
        self._endpoint = endpoint.rstrip("/")

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def pending(self, safe: str, nonce: int) -> Waiting:
        """Return what waits with this nonce or one of the next; see the port."""
        asked: dict[str, str | int] = {
            "executed": "false",
            "has_confirmations": "true",
            "nonce__gte": nonce,
            "nonce__lt": nonce + MOST_AHEAD,
            "ordering": "-nonce",  # what is cut off is never further ahead than what is told
            "limit": _MOST_TOLD,
        }
        raw = self._read(f"/api/v1/safes/{checksummed(safe)}/multisig-transactions/", asked)
        if raw is None:
            raise UnavailableError(f"the Safe transaction service does not know {safe}")
        page = _decoded(raw, _Page)
        found = (_queued(one) for one in page.results)
        ahead = tuple(one for one in found if nonce <= one.nonce < nonce + MOST_AHEAD)
        return Waiting(nonce, ahead, whole=page.next is None)

    def confirmations(self, made: SafeTransaction) -> tuple[Claim, ...] | None:
        """Return who is said to have signed it there; None where the service does not know it."""
        raw = self._read(f"/api/v1/multisig-transactions/{made.name}/", {})
        if raw is None:
            return None
        return _claims(_decoded(raw, _One).confirmations)

    def propose(self, made: SafeTransaction, owner: str, signature: bytes) -> None:
        """Propose it with an owner's signature; see the port."""
        self._post(f"/api/v1/safes/{checksummed(made.safe)}/multisig-transactions/", proposal(made, owner, signature))

    def confirm(self, made: SafeTransaction, signature: bytes) -> None:
        """Add a further owner's signature; see the port."""
        body = {"signature": "0x" + signature.hex()}
        self._post(f"/api/v1/multisig-transactions/{made.name}/confirmations/", body)

    def _read(self, path: str, asked: Mapping[str, str | int]) -> bytes | None:
        try:
            status, body = self._call("GET", path, params=dict(asked))
        except httpx.HTTPError as error:
            raise UnavailableError(f"the Safe transaction service did not answer ({type(error).__name__})") from None
        if status == httpx.codes.NOT_FOUND:
            return None
        if status != httpx.codes.OK:
            raise UnavailableError(f"the Safe transaction service answered with status {status}")
        return body

    def _post(self, path: str, body: Mapping[str, object]) -> None:
        try:
            status, told = self._call("POST", path, json=dict(body))
        except _NOT_SENT:
            raise UnavailableError("the Safe transaction service could not be reached: nothing was proposed") from None
        except (httpx.HTTPError, UnavailableError):
            raise UnknownOutcomeError("the Safe transaction service's answer was lost") from None
        if httpx.codes.is_success(status):
            return
        if status == httpx.codes.TOO_MANY_REQUESTS:
            raise UnavailableError("the Safe transaction service asks us to slow down")
        if httpx.codes.is_client_error(status) and status != httpx.codes.REQUEST_TIMEOUT:
            reason = "".join(c if c.isprintable() else " " for c in told[:200].decode("utf-8", "replace"))
            raise RefusedByOtherSideError(f"the Safe transaction service refused: {status} {reason}")
        raise UnknownOutcomeError(f"the Safe transaction service answered {status}: it may have the proposal or not")

    def _call(self, method: str, path: str, **content: Any) -> tuple[int, bytes]:
        body = bytearray()
        with self._client.stream(method, self._endpoint + path, **content) as response:
            for piece in response.iter_bytes():
                body += piece
                if len(body) > _MAX_ANSWER_BYTES:
                    raise UnavailableError("the Safe transaction service answered with more than 4 MB")
        return response.status_code, bytes(body)


def _decoded(raw: bytes, kind: type[Any]) -> Any:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise UnavailableError("the Safe transaction service answered in another form") from error


def _queued(told: _Told) -> Queued:
    numbers = [int(one) for one in (told.value, told.safe_tx_gas, told.base_gas, told.gas_price, told.nonce)]
    if not all(0 <= one <= MAX_UNITS for one in numbers):
        raise UnavailableError("the Safe transaction service tells a number that no transaction can have")
    value, safe_tx_gas, base_gas, gas_price, nonce = numbers
    token, receiver = ((address or ZERO).lower() for address in (told.gas_token, told.refund_receiver))
    data = bytes.fromhex((told.data or "0x")[2:])
    gas = (safe_tx_gas, base_gas, gas_price, token, receiver)
    return Queued(nonce, told.to.lower(), value, data, told.operation, gas, _claims(told.confirmations))


def _claims(told: list[_Confirmed] | None) -> tuple[Claim, ...]:
    return tuple(
        Claim(one.owner.lower(), bytes.fromhex((one.signature or "0x")[2:])) for one in (told or [])[:MOST_OWNERS]
    )
