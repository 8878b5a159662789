"""What a person's own client seals for the authority, so that whoever carries it can neither read, alter nor redirect it.

Rules:

- The envelope is that of `hsm.sealing`, sealed with the authority's ballot key, whose private half is in the authority's
  token alone. A client takes the public half from a file that it got apart from the API, never from the API itself.
- The associated data are tag ‖ 0x00 ‖ subject ‖ 0x00 ‖ person. A ballot's subject is the digest of the document that the
  client showed, so it opens for no other document and no other person; an enrolment has no subject.
- Every plaintext has the same length, so that the length of an envelope does not tell a denial from an approval.
- An envelope travels as base64url without padding (RFC 4648 section 5).
"""

import base64
import binascii
import hashlib
import re
from typing import Final, Literal, TypeVar

import msgspec

from service.domain.errors import InputError

BALLOT_TAG: Final = "portcullis/ballot/v1"
ENROLMENT_TAG: Final = "portcullis/enrolment/v1"
"""A question that carries the key under which the enrolment code is answered."""
ENROLMENT_ANSWER_TAG: Final = "portcullis/enrolment-answer/v1"
FIRST_CODE_TAG: Final = "portcullis/first-code/v1"
_CLIENT_TAG: Final = b"portcullis/enrolment-client/v1\x00"
CLIENT_CODE: Final = re.compile(r"[a-z2-7]{24}", re.ASCII)
PAPER_BYTES: Final = 256
"""Length of every paper; what is shorter is filled with blanks, which JSON ignores."""
MAX_CODE: Final = 20
MAX_SEALED_TEXT: Final = 2048
SEALED_TEXT: Final = re.compile(rf"[A-Za-z0-9_-]{{1,{MAX_SEALED_TEXT}}}", re.ASCII)


class _Paper(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base: what is inside an envelope. Its representation shows nothing."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}(…)"


class BallotPaper(_Paper, frozen=True, kw_only=True):
    """A vote: the check code that the person typed, his one-time code, and yes or no."""

    check_code: str
    code: str
    decision: Literal["approve", "deny"]

    def __post_init__(self) -> None:
        _bounded(self.check_code, self.code)


class FirstCode(_Paper, frozen=True, kw_only=True):
    """The first code of a new authenticator."""

    code: str

    def __post_init__(self) -> None:
        _bounded(self.code)


Paper = TypeVar("Paper", bound=_Paper)


def associated_data(tag: str, person: str, subject: str = "") -> bytes:
    """Return what an envelope is bound to; see the module for the form."""
    return b"\x00".join((tag.encode(), subject.encode(), person.encode()))


def client_code(key: bytes) -> str:
    """Return what names the key that an enrolment is answered under: 24 of a-z and 2-7, 120 bits of its SHA-256.

    Long enough that nobody finds another key for it, short enough to be read out.
    """
    return base64.b32encode(hashlib.sha256(_CLIENT_TAG + key).digest()).decode("ascii").lower()[:24]


def read_client_code(text: str) -> str:
    """Return a code as it is compared; blanks, hyphens and case do not matter. Raises InputError when it is none."""
    code = text.replace(" ", "").replace("-", "").lower()
    if CLIENT_CODE.fullmatch(code) is None:
        raise InputError("client is the 24 letters and digits that `portcullis people prepare` printed", field="client")
    return code


def filled(paper: _Paper) -> bytes:
    """Return a paper as the 256 bytes that are sealed. Raises InputError when it is longer."""
    plain = msgspec.json.encode(paper)
    if len(plain) > PAPER_BYTES:
        raise InputError("the codes are longer than any code", field="code")
    return plain.ljust(PAPER_BYTES)


def read_paper(plain: bytes, kind: type[Paper]) -> Paper:
    """Return the paper that was sealed. Raises InputError when it is none of this kind."""
    try:
        return msgspec.json.decode(plain, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError):
        # Without the decoder's own words: they could quote what is secret.
        raise InputError("the sealed paper is malformed: use a client of this release", field="sealed") from None


def to_text(envelope: bytes) -> str:
    """Return an envelope as it travels."""
    return base64.urlsafe_b64encode(envelope).rstrip(b"=").decode("ascii")


def from_text(text: str) -> bytes:
    """Return the bytes of an envelope that travelled. Raises InputError."""
    if SEALED_TEXT.fullmatch(text) is None:
        raise InputError(f"sealed is 1 to {MAX_SEALED_TEXT} characters of base64url without padding", field="sealed")
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise InputError("sealed is not base64url", field="sealed") from error


def _bounded(*codes: str) -> None:
    if max(map(len, codes)) > MAX_CODE:
        raise InputError(f"codes have at most {MAX_CODE} characters", field="code")
