"""What the emulator refuses, each with a stable code and the HTTP status that the emulated platform would answer.

The emulator is the other side of the wire, so a status belongs here; Portcullis itself keeps statuses in one place of
its own.
"""

from typing import ClassVar, Literal


class EmulatorError(Exception):
    """A request that the emulated platform refuses. `number` is the numeric code of the platform's error body."""

    code: ClassVar[str] = "emulator_error"
    status: ClassVar[int] = 400
    number: ClassVar[int] = 1000
    retry: ClassVar[Literal["never", "later"]] = "never"


class AmountError(EmulatorError):
    """An amount that is not a non-negative decimal with at most the asset's number of places."""

    code = "amount_invalid"
    number = 1001


class FieldError(EmulatorError):
    """A field that is missing, of the wrong form, or names something that does not exist."""

    code = "field_invalid"
    number = 1002


class NotFoundError(EmulatorError):
    """The named object does not exist."""

    code = "not_found"
    status = 404
    number = 1004


class FundsError(EmulatorError):
    """The balance does not cover the amount and its fee."""

    code = "insufficient_funds"
    status = 409
    number = 1427


class StateError(EmulatorError):
    """The object is in a state that does not allow the operation."""

    code = "state_conflict"
    status = 409
    number = 1409


class PolicyError(EmulatorError):
    """The workspace's own settings refuse the operation: frozen, or one-time addresses forbidden."""

    code = "blocked_by_policy"
    status = 403
    number = 1403


class KeyNotStolenError(EmulatorError):
    """A theft from an address whose key the attacker does not hold."""

    code = "key_not_stolen"
    status = 409
    number = 1410


class UnauthorizedError(EmulatorError):
    """Missing or wrong credentials."""

    code = "unauthorized"
    status = 401
    number = -7


class TooLargeError(EmulatorError):
    """A body above the accepted size."""

    code = "body_too_large"
    status = 413
    number = 1413


class RpcError(EmulatorError):
    """A JSON-RPC call that the chain refuses; the numbers follow the common practice of EVM nodes."""

    code = "rpc_refused"
    number = -32000


class SeedError(EmulatorError):
    """A seed that does not fit together; the message names the field and what to do."""

    code = "seed_invalid"
    status = 422
    number = 1422
