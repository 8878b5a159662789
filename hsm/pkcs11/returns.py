"""PKCS#11 return values as errors of this library (PKCS#11 v2.40 section 5.1).

Rules held here:
- Every CKR_* that a caller can act on has its class; every other one is `TokenOutcomeUnknownError`, because a token
  that failed in a way we do not know may have done the thing.
- The message names the return value and the operation, never its data.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import PyKCS11 as P

from hsm.errors import (
    HsmError,
    KeyNotFoundError,
    KeyUnextractableError,
    KeyUseRefusedError,
    MechanismMissingError,
    PinLockedError,
    PinRefusedError,
    SealError,
    TokenFullError,
    TokenNotFoundError,
    TokenOutcomeUnknownError,
    TokenUnavailableError,
)

RETRY_AFTER_S: Final = 5.0

_CLASSES: Final[dict[type[HsmError], tuple[str, frozenset[int]]]] = {
    PinLockedError: (
        "the token has locked the PIN: its security officer must set a new one",
        frozenset({P.CKR_PIN_LOCKED}),
    ),
    PinRefusedError: (
        "the token refused the PIN: correct the PIN source, then run `portcullis hsm pin-clear`",
        frozenset({P.CKR_PIN_INCORRECT, P.CKR_PIN_INVALID, P.CKR_PIN_LEN_RANGE, P.CKR_PIN_EXPIRED}),
    ),
    MechanismMissingError: (
        "the token lacks what this needs: run `portcullis hsm doctor` for the list",
        frozenset(
            {
                P.CKR_MECHANISM_INVALID,
                P.CKR_MECHANISM_PARAM_INVALID,
                P.CKR_DOMAIN_PARAMS_INVALID,
                P.CKR_CURVE_NOT_SUPPORTED,
                P.CKR_FUNCTION_NOT_SUPPORTED,
                P.CKR_KEY_SIZE_RANGE,
            }
        ),
    ),
    KeyUseRefusedError: (
        "the token forbids this use of the key: it is disabled or of another kind",
        frozenset({P.CKR_KEY_FUNCTION_NOT_PERMITTED, P.CKR_KEY_TYPE_INCONSISTENT, P.CKR_ATTRIBUTE_READ_ONLY}),
    ),
    KeyUnextractableError: (
        "the key cannot leave the token",
        frozenset({P.CKR_KEY_UNEXTRACTABLE, P.CKR_ATTRIBUTE_SENSITIVE, P.CKR_KEY_NOT_WRAPPABLE}),
    ),
    KeyNotFoundError: (
        "the key is no longer in the token",
        frozenset({P.CKR_OBJECT_HANDLE_INVALID, P.CKR_KEY_HANDLE_INVALID}),
    ),
    SealError: (
        "the sealed value was altered, or is not of this token",
        frozenset(
            {
                P.CKR_ENCRYPTED_DATA_INVALID,
                P.CKR_ENCRYPTED_DATA_LEN_RANGE,
                P.CKR_WRAPPED_KEY_INVALID,
                P.CKR_WRAPPED_KEY_LEN_RANGE,
            }
        ),
    ),
    TokenFullError: (
        "the token is full: destroy keys that are retired, or give it more memory",
        frozenset({P.CKR_DEVICE_MEMORY}),
    ),
    TokenNotFoundError: (
        "the slot holds no initialised token: run `portcullis hsm init`",
        frozenset({P.CKR_SLOT_ID_INVALID, P.CKR_TOKEN_NOT_RECOGNIZED, P.CKR_USER_PIN_NOT_INITIALIZED}),
    ),
    TokenUnavailableError: (
        "the session to the token is gone: a new one is opened at the next try",
        frozenset(
            {
                P.CKR_SESSION_HANDLE_INVALID,
                P.CKR_SESSION_CLOSED,
                P.CKR_SESSION_COUNT,
                P.CKR_USER_NOT_LOGGED_IN,
                P.CKR_TOKEN_NOT_PRESENT,
                P.CKR_CRYPTOKI_NOT_INITIALIZED,
                P.CKR_OPERATION_ACTIVE,
            }
        ),
    ),
}


def to_error(return_value: int, doing: str) -> HsmError:
    """Return the error for a CKR_* value met while `doing` something."""
    name = P.CKR.get(return_value, f"CKR 0x{return_value & 0xFFFFFFFF:08X}")
    for kind, (advice, values) in _CLASSES.items():
        if return_value in values:
            after = RETRY_AFTER_S if kind is TokenUnavailableError else None
            return kind(f"{doing}: {advice} ({name})", retry_after_s=after)
    return TokenOutcomeUnknownError(f"{doing}: the token failed and may or may not have done it ({name})")


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn a PyKCS11Error raised inside into an error of this library."""
    try:
        yield
    except P.PyKCS11Error as failure:
        raise to_error(int(failure.value), doing) from None
