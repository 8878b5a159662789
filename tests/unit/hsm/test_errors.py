"""Every error of the library has a stable code of its own, and every PKCS#11 return value has an error."""

from collections.abc import Iterator

import PyKCS11
import pytest

from hsm import errors
from hsm.errors import HsmError, RetryKind, TokenOutcomeUnknownError, TokenUnavailableError
from hsm.pkcs11.returns import to_error, translated


def classes(base: type[HsmError] = HsmError) -> Iterator[type[HsmError]]:
    yield base
    for child in base.__subclasses__():
        yield from classes(child)


def test_codes_are_unique_and_names_end_in_error() -> None:
    found = list(classes())
    assert errors.SignatureMismatchError in found
    assert len({kind.code for kind in found}) == len(found)
    assert all(kind.__name__.endswith("Error") and kind.__doc__ for kind in found)


def test_a_lost_answer_is_not_a_refusal() -> None:
    assert errors.TokenOutcomeUnknownError.retry is RetryKind.VERIFY_FIRST
    assert errors.PinRefusedError.retry is RetryKind.NEVER


@pytest.mark.parametrize("value", sorted({code for code in PyKCS11.CKR.values() if isinstance(code, int) and code > 0}))
def test_every_return_value_has_an_error_that_names_it(value: int) -> None:
    failure = to_error(value, "testing")
    assert str(failure).startswith("testing: ")
    assert str(PyKCS11.CKR[value]) in str(failure)


def test_unknown_return_values_are_unknown_outcomes() -> None:
    assert isinstance(to_error(0x80001234, "testing"), TokenOutcomeUnknownError)
    assert isinstance(to_error(PyKCS11.CKR_DEVICE_ERROR, "testing"), TokenOutcomeUnknownError)


def test_a_gone_session_may_be_tried_again() -> None:
    with pytest.raises(TokenUnavailableError) as failure, translated("testing"):
        raise PyKCS11.PyKCS11Error(PyKCS11.CKR_SESSION_HANDLE_INVALID)
    assert failure.value.retry is RetryKind.LATER
    assert failure.value.retry_after_s
