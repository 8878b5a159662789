"""Signed letters to outsiders, by mail; implements `ports.notify.Outside`.

Rules: the text goes out word for word, as the mail's body and as a file, with a page and a PDF of the same text, and with
detached signatures (RSA PKCS #1 v1.5 with SHA-256, RFC 8017) by a key that never leaves the platform token: one of the
text's bytes, one of the list of all files' SHA-256, in the form that `sha256sum -c` reads. The public key goes along for
convenience, and counts only where the reader has it from elsewhere. A mail server cannot be asked whether it delivered, so
a lost answer stays unknown until people settle it.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from service.domain.errors import RefusedByOtherSideError
from service.domain.freeze_letter import as_html
from service.domain.plan import Receipt, Verdict
from service.notifiers.pdf import as_pdf
from service.notifiers.smtp import SmtpChannel
from service.ports.notify import Attachment, Channel, Letter, OutsideLetter

TEXT: Final = "letter.txt"
SUMS: Final = "SHA256SUMS"
_BYTES: Final = "application/octet-stream"
_KINDS: Final = {TEXT: "text/plain", "letter.html": "text/html", "letter.pdf": "application/pdf"}
Sign = Callable[[bytes], tuple[bytes, bytes]]
"""Bytes → (signature, public key in PEM)."""


@dataclass(frozen=True, slots=True)
class SignedMail:
    """See the port. `channels` builds the installation's channels anew, so that a changed one is used at once."""

    channels: Callable[[], Mapping[str, Channel]]
    sign: Sign

    def send(self, letter: OutsideLetter, *, key: str) -> Receipt:
        """See the port."""
        channel = self.channels().get(letter.channel)
        if not isinstance(channel, SmtpChannel):
            raise RefusedByOtherSideError(
                f"{letter.channel} is no mail channel that can be used: register it, or correct the issuer in the policy"
            )
        made = files_of(letter.text, letter.subject)
        text, listed = made[TEXT], sums(made)
        signature, public_key = self.sign(text)
        sums_signature, _ = self.sign(listed)
        files = (
            *(Attachment(name, _KINDS[name], content) for name, content in made.items()),
            Attachment(f"{TEXT}.sig", _BYTES, signature),
            Attachment(SUMS, _BYTES, listed),
            Attachment(f"{SUMS}.sig", _BYTES, sums_signature),
            Attachment("public-key.pem", "application/x-pem-file", public_key),
        )
        told = channel.deliver(Letter(key, letter.recipient, letter.subject, letter.text, {}, files))
        facts = {
            "signature": base64.b64encode(signature).decode(),
            "public_key": public_key.decode(),
            "sha256": hashlib.sha256(text).hexdigest(),
            "sums": listed.decode(),
            "sums_signature": base64.b64encode(sums_signature).decode(),
            **told,
        }
        return Receipt(told.get("message_id", key), facts)

    def sent(self, key: str) -> Verdict:  # noqa: ARG002  mail cannot be asked
        """See the port."""
        return Verdict.CANNOT_TELL


def files_of(text: str, subject: str) -> Mapping[str, bytes]:
    """Return a letter as files: the same text three times, the same bytes each time."""
    page, paper = as_html(text, subject).encode(), as_pdf(text, subject)
    return {TEXT: text.encode(), "letter.html": page, "letter.pdf": paper}


def sums(files: Mapping[str, bytes]) -> bytes:
    """Return the list of the files' digests, as `sha256sum` writes it."""
    return "".join(f"{hashlib.sha256(content).hexdigest()}  {name}\n" for name, content in files.items()).encode()
