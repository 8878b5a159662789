"""What the authority says, signed: a canonical JSON body with a tag, and an ECDSA P-256 signature over its bytes.

Rules: the signature is verified before the body is parsed; the tag inside the body says what kind of statement it is, so
one kind never passes for another; the body must be in canonical form (RFC 8785), so that a statement has one spelling.
The signature is r ‖ s, 64 bytes (FIPS 186-5, SHA-256), made by the vote key of the authority's token; who verifies pins
the public key from a file of his own, never from the database.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass

from hsm.errors import HsmInputError, StatementError
from hsm.p256 import verify as verify_p256
from service.domain.canonical import MAX_BYTES, canonical
from service.domain.errors import ApprovalError, ConfigurationError


@dataclass(frozen=True, slots=True)
class Signed:
    """A statement's exact text and its signature, as stored; says nothing until `opened`."""

    body: str
    signature: bytes


def opened(signed: Signed, tag: str, public_key_pem: bytes) -> Mapping[str, object]:
    """Return the statement's fields if the authority signed exactly this text and it is of this kind.

    Raises ApprovalError otherwise; ConfigurationError when the pinned key is not an ECDSA P-256 public key.
    """
    verify(public_key_pem, signed.body.encode(errors="surrogatepass"), signed.signature)
    if len(signed.body) > MAX_BYTES:
        raise ApprovalError(f"a signed statement is longer than {MAX_BYTES} bytes")
    fields = json.loads(signed.body)
    if not isinstance(fields, dict) or fields.get("tag") != tag:
        raise ApprovalError(f"the signed statement is not a {tag}")
    if canonical(fields) != signed.body.encode():
        raise ApprovalError(f"the signed {tag} is not in canonical form")
    return fields


def verify(public_key_pem: bytes, message: bytes, signature: bytes) -> None:
    """Return if the pinned key signed `message`. Raises ApprovalError; ConfigurationError for an unusable key."""
    try:
        verify_p256(public_key_pem, message, signature)
    except StatementError as error:
        raise ApprovalError(f"not signed by the authority's pinned key: {error}") from error
    except HsmInputError as error:
        raise ConfigurationError(f"{error}: restore public/authority-votes.pem") from error
