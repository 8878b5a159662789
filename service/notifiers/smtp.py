"""Mail over SMTP (RFC 5321): one message a connection, with STARTTLS or TLS where the channel says so.

The Message-ID is made from the idempotency key, so that a mailbox that sees the same mail twice can tell. Losing the
connection after the message was handed over is an unknown outcome, before it a failure that may be tried again.
"""

import hashlib
import smtplib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY

from service.domain.errors import RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.secrets import Secret
from service.ports.notify import Letter


@dataclass(frozen=True, slots=True)
class SmtpChannel:
    """`security`: none (loopback relays only) | starttls | tls."""

    host: str
    port: int
    sender: str
    security: str = "starttls"
    user: str | None = None
    password: Secret | None = None
    timeout_s: float = 15.0

    def deliver(self, letter: Letter) -> Mapping[str, str]:
        """Deliver one mail; see the port for what is raised."""
        mail = self._compose(letter)
        try:
            connection = self._connect()
        except (OSError, smtplib.SMTPException) as error:
            raise UnavailableError(f"the mail server {self.host}:{self.port} did not answer: {error}") from error
        try:
            with connection:
                refused = connection.send_message(mail)
        except (smtplib.SMTPRecipientsRefused, smtplib.SMTPSenderRefused, smtplib.SMTPDataError) as error:
            raise _judge(error) from error
        except (OSError, smtplib.SMTPServerDisconnected) as error:
            raise UnknownOutcomeError("the mail server hung up while it had the message") from error
        if refused:
            raise RefusedByOtherSideError("the mail server refused the recipient")
        return {"message_id": str(mail["Message-ID"])}

    def _compose(self, letter: Letter) -> EmailMessage:
        mail = EmailMessage(policy=SMTP_POLICY)
        mail["From"] = self.sender
        mail["To"] = letter.recipient
        mail["Subject"] = " ".join(letter.subject.split())
        mail["Message-ID"] = f"<{hashlib.sha256(letter.key.encode()).hexdigest()[:32]}@portcullis>"
        mail["Auto-Submitted"] = "auto-generated"
        for name, value in sorted(letter.facts.items()):
            if value:
                mail[f"X-Portcullis-{name.title()}"] = value
        mail.set_content(letter.body)
        return mail

    def _connect(self) -> smtplib.SMTP:
        context = ssl.create_default_context()
        connection: smtplib.SMTP
        if self.security == "tls":
            connection = smtplib.SMTP_SSL(self.host, self.port, timeout=self.timeout_s, context=context)
        else:
            connection = smtplib.SMTP(self.host, self.port, timeout=self.timeout_s)
            if self.security == "starttls":
                connection.starttls(context=context)
        if self.user and self.password:
            connection.login(self.user, self.password.reveal())
        return connection


def _judge(error: smtplib.SMTPException) -> Exception:
    code = error.smtp_code if isinstance(error, smtplib.SMTPResponseException) else 0
    if isinstance(error, smtplib.SMTPRecipientsRefused):
        code = max((answer[0] for answer in error.recipients.values()), default=550)
    if 400 <= code < 500:  # noqa: PLR2004  RFC 5321 4.2.1: a 4yz reply is a transient failure
        return UnavailableError(f"the mail server said not now ({code})")
    return RefusedByOtherSideError(f"the mail server refused the message ({code})")
