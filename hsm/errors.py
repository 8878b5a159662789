"""What can go wrong with a token or a key, who acts next, and what that person does.

Rules held here:
- Every class ends in `Error`, has a stable `code` and a `retry` kind; the message says what to do.
- "Refused" and "cannot tell" are different types: a lost answer of a token is `TokenOutcomeUnknownError`, never a
  refusal.
- A PIN, seed or private key never appears in a message.

Return values are those of PKCS#11 v2.40, section 5.1 (CKR_*); `hsm.pkcs11.returns` maps them to these classes.
"""

from enum import Enum
from typing import ClassVar


class RetryKind(Enum):
    """Who acts next: nobody may simply try again, later is safe, or the token must be asked first."""

    NEVER = "never"
    LATER = "later"
    VERIFY_FIRST = "verify_first"


class HsmError(Exception):
    """Base of all errors of this library. `field` names the offending input where there is one."""

    code: ClassVar[str] = "hsm"
    retry: ClassVar[RetryKind] = RetryKind.NEVER

    def __init__(self, message: str, *, field: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.field = field
        self.retry_after_s = retry_after_s


class HsmInputError(HsmError):
    """A caller's value is malformed; `field` names it."""

    code = "hsm_input"


class TokenUriError(HsmInputError):
    """A PKCS#11 URI is malformed or lacks what is needed to open a token (RFC 7512)."""

    code = "hsm_uri"


class DerivationError(HsmInputError):
    """A derivation path, extended key or seed is invalid (BIP-32)."""

    code = "hsm_derivation"


class ModuleMissingError(HsmError):
    """The PKCS#11 module is not on this machine or is not a PKCS#11 module."""

    code = "hsm_module_missing"


class ModuleInUseError(HsmError):
    """The process already loaded another module or SoftHSM configuration, or loaded it before a fork."""

    code = "hsm_module_in_use"


class TokenNotFoundError(HsmError):
    """No token, or more than one, has the label that was asked for."""

    code = "hsm_token_not_found"


class TokenLayoutError(HsmError):
    """The token was set up by another version, or its keys are not the ones its power needs."""

    code = "hsm_token_layout"


class PinSourceError(HsmError):
    """The PIN could not be read from its source."""

    code = "hsm_pin_source"


class PinRefusedError(HsmError):
    """The token refused the PIN, now or earlier. Nothing logs in again until a person clears the record."""

    code = "hsm_pin_refused"


class PinLockedError(PinRefusedError):
    """The token has locked the PIN; only its security officer can set a new one."""

    code = "hsm_pin_locked"


class MechanismMissingError(HsmError):
    """The token lacks a mechanism or curve that is needed."""

    code = "hsm_mechanism_missing"


class KeyNotFoundError(HsmError):
    """The token holds no key with this label and kind, or more than one."""

    code = "hsm_key_not_found"


class KeyUseRefusedError(HsmError):
    """The key exists but its attributes forbid the use (CKA_SIGN = false, for example)."""

    code = "hsm_key_use_refused"


class KeyUnextractableError(HsmError):
    """The key's value cannot leave the token. That is intended: there is nothing to do."""

    code = "hsm_key_unextractable"


class SignatureMismatchError(HsmError):
    """A signature that a token returned does not verify under the key that was asked to make it."""

    code = "hsm_signature_mismatch"


class TokenFullError(HsmError):
    """The token has no room for another object; nothing was written. Remove keys that are retired, or add memory."""

    code = "hsm_token_full"


class SealError(HsmError):
    """A sealed value was altered, belongs to another id, or was sealed for another key."""

    code = "hsm_seal"


class StatementError(HsmError):
    """A signed statement does not verify under the pinned key."""

    code = "hsm_statement"


class RotationError(HsmError):
    """An event is not allowed in the rotation's state; the message lists what is."""

    code = "hsm_rotation"


class CeremonyError(HsmError):
    """A ceremony may not begin, or was stopped; unless the message says otherwise nothing was changed."""

    code = "hsm_ceremony"


class TokenUnavailableError(HsmError):
    """The token or its session went away before the operation began; a new session may be tried later."""

    code = "hsm_token_unavailable"
    retry = RetryKind.LATER


class TokenOutcomeUnknownError(HsmError):
    """The token failed in the middle: the operation may or may not have had its effect. Ask the token what it holds."""

    code = "hsm_outcome_unknown"
    retry = RetryKind.VERIFY_FIRST
