"""Signed letters to outsiders, by mail; implements `ports.notify.Outside`.

Rules: the text goes out word for word, as the mail's body and as a file, with a page of the same text and a detached
signature (RSA PKCS #1 v1.5 with SHA-256, RFC 8017) of the file's bytes by a key that never leaves the platform token; the
public key goes along for convenience, and counts only where the reader has it from elsewhere. A mail server cannot be asked
whether it delivered, so a lost answer stays unknown until people settle it.
"""

import base64
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from service.domain.errors import RefusedByOtherSideError
from service.domain.freeze_letter import as_html
from service.domain.plan import Receipt, Verdict
from service.notifiers.smtp import SmtpChannel
from service.ports.notify import Attachment, Channel, Letter, OutsideLetter

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
        text = letter.text.encode()
        signature, public_key = self.sign(text)
        files = (
            Attachment("letter.txt", "text/plain", text),
            Attachment("letter.txt.sig", "application/octet-stream", signature),
            Attachment("letter.html", "text/html", as_html(letter.text, letter.subject).encode()),
            Attachment("public-key.pem", "application/x-pem-file", public_key),
        )
        told = channel.deliver(Letter(key, letter.recipient, letter.subject, letter.text, {}, files))
        facts = {
            "signature": base64.b64encode(signature).decode(),
            "public_key": public_key.decode(),
            "sha256": hashlib.sha256(text).hexdigest(),
            **told,
        }
        return Receipt(told.get("message_id", key), facts)

    def sent(self, key: str) -> Verdict:  # noqa: ARG002  mail cannot be asked
        """See the port."""
        return Verdict.CANNOT_TELL
