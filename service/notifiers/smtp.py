"""Mail over SMTP (RFC 5321), with STARTTLS or TLS where the channel says so.

Rules: a password never goes over a connection that is not encrypted. The Message-ID is made from the idempotency key, so
that a mailbox that sees the same mail twice can tell. Losing the connection once DATA has begun is an unknown outcome,
before it a failure that may be tried again; after the server took the message nothing can fail any more. A connection that
is kept carries at most `MOST_A_CONNECTION` messages and none after a failure; a server that ended it between two messages
(RFC 5321 3.8, 4.5.3.2.7) is asked for another, once, because it has nothing of the next message yet. One message, with the
connection that it needs, takes `within_s` at most: a server that answers a byte at a time keeps every read within its time.
One answer has `MOST_A_REPLY` bytes at most: the standard library bounds a line of it (RFC 5321 4.5.3.1.5), not their number.
An address beyond ASCII needs a server that offers SMTPUTF8 (RFC 6531); at any other it is refused.
"""

import hashlib
import io
import smtplib
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from email.message import EmailMessage
from email.policy import SMTP as SMTP_POLICY
from functools import cache
from typing import Any, Final, Literal

from service.domain.errors import (
    ConfigurationError,
    PortcullisError,
    RefusedByOtherSideError,
    UnavailableError,
    UnknownOutcomeError,
)
from service.domain.secrets import Secret
from service.ports.notify import Letter

Security = Literal["none", "starttls", "tls"]
_OK: Final = 250
_ACCEPTED: Final = frozenset({_OK, 251})
_CLOSING: Final = 421
_AT_ONCE: Final = 16 * 1024
"""Bytes that are sent before the time is looked at again; one record of TLS (RFC 8446 5.1)."""
MOST_A_CONNECTION: Final = 50
MOST_A_REPLY: Final = 64 * 1024
"""Bytes, within one read of a buffer."""


@dataclass(frozen=True, slots=True)
class SmtpChannel:
    """`security`: none (a relay that asks for no password) | starttls | tls."""

    host: str
    port: int
    sender: str
    security: Security = "starttls"
    user: str | None = None
    password: Secret | None = None
    timeout_s: float = 10.0
    """Of each wait for the server."""
    within_s: float = 30.0

    def __post_init__(self) -> None:
        if self.security not in ("none", "starttls", "tls"):
            raise ConfigurationError(f"security {self.security!r} of the mail server is not none, starttls or tls")
        if self.security == "none" and self.user:
            raise ConfigurationError("a mail server that asks for a password needs security starttls or tls")
        if self.user and self.password and not (self.user + self.password.reveal()).isascii():
            raise ConfigurationError("user and password of a mail server are ASCII")

    def deliver(self, letter: Letter) -> Mapping[str, str]:
        """Deliver one mail over a connection of its own; see the port for what is raised."""
        with self.kept() as line:
            return line.deliver(letter)

    @contextmanager
    def kept(self) -> Iterator["SmtpLine"]:
        """Keep one connection for several mails; see the port."""
        line = SmtpLine(self)
        try:
            yield line
        finally:
            line.hang_up()

    def compose(self, letter: Letter) -> bytes:
        """Return the mail as it goes out. Raises RefusedByOtherSideError for what fits into none."""
        mail = EmailMessage(policy=SMTP_POLICY.clone(utf8=bool(self.options(letter.recipient))))
        try:
            mail["From"] = self.sender
            mail["To"] = letter.recipient
            mail["Subject"] = " ".join(letter.subject.split())
            mail["Message-ID"] = _message_id(letter)
            mail["Auto-Submitted"] = "auto-generated"
            for name, value in sorted(letter.facts.items()):
                if value:
                    mail[f"X-Portcullis-{name.title()}"] = value
            mail.set_content(letter.body)
            for file in letter.attachments:
                kind, _, subtype = file.kind.partition("/")
                mail.add_attachment(file.content, maintype=kind, subtype=subtype, filename=file.name)
            return mail.as_bytes()
        except Exception as error:  # the standard library's parser of headers documents nothing that it raises
            raise RefusedByOtherSideError(f"no mail can be made of this: {error}") from error

    def options(self, recipient: str) -> tuple[str, ...]:
        """Return what MAIL has to ask for, so that the server takes both addresses."""
        return () if (self.sender + recipient).isascii() else ("SMTPUTF8", "BODY=8BITMIME")

    def open(self, until: float) -> "_Timed":
        """Return a new connection that takes mail, open by `until` on the monotonic clock.

        Raises UnavailableError, RefusedByOtherSideError.
        """
        connection: _Timed
        try:
            if self.security == "tls":
                connection = _Tls(until, self.host, self.port, timeout=self.timeout_s, context=_trusted())
            else:
                connection = _Timed(until, self.host, self.port, timeout=self.timeout_s)
        except OSError as error:
            raise UnavailableError(f"the mail server {self.host}:{self.port} did not answer: {error}") from error
        except ValueError as error:
            raise RefusedByOtherSideError(f"{self.host!r} is no server's name: {error}") from error
        try:
            if self.security == "starttls":
                connection.starttls(context=_trusted())
            if self.user and self.password:
                connection.login(self.user, self.password.reveal())
        except smtplib.SMTPAuthenticationError as error:
            connection.close()
            raise _judge(error.smtp_code) from error
        except OSError as error:
            connection.close()
            raise UnavailableError(f"the mail server {self.host}:{self.port} could not be entered: {error}") from error
        return connection


@dataclass(slots=True)
class SmtpLine:
    """A connection of a mail channel while it is kept; a channel itself. For one thread."""

    channel: SmtpChannel
    _connection: "_Timed | None" = None
    _carried: int = 0

    def deliver(self, letter: Letter) -> Mapping[str, str]:
        """Deliver one mail; see the port for what is raised."""
        content = self.channel.compose(letter)
        try:
            until = time.monotonic() + self.channel.within_s
            self._hand_over(self._ready(letter.recipient, until), content)
        except BaseException:
            self.hang_up()  # what the server makes of the next command is not known
            raise
        self._carried += 1
        return {"message_id": _message_id(letter)}

    def hang_up(self) -> None:
        """End the connection politely; that the goodbye failed changes nothing about any message."""
        if self._connection is not None:
            with suppress(OSError):
                self._connection.quit()
            self._connection.close()
        self._connection, self._carried = None, 0

    def _ready(self, recipient: str, until: float) -> smtplib.SMTP:
        """Return a connection that took sender and recipient: the kept one, or another where the server ended it."""
        if self._carried >= MOST_A_CONNECTION:
            self.hang_up()
        if self._connection is not None:
            self._connection.until = until
            try:
                self._envelope(self._connection, recipient)
            except _EndedError:
                self.hang_up()
            else:
                return self._connection
        self._connection = self.channel.open(until)
        try:
            self._envelope(self._connection, recipient)
        except _EndedError as error:
            raise UnavailableError("the mail server hung up before it had the message") from error
        return self._connection

    def _envelope(self, connection: smtplib.SMTP, recipient: str) -> None:
        options = self.channel.options(recipient)
        try:
            connection.ehlo_or_helo_if_needed()
            if options and not connection.has_extn("smtputf8"):
                raise RefusedByOtherSideError(
                    "the mail server takes no address beyond ASCII: write its domain as xn--…"
                )
            answers = [connection.mail(self.channel.sender, options), connection.rcpt(recipient)]
        except smtplib.SMTPResponseException as error:
            raise _judge(error.smtp_code) from error
        except OSError as error:
            raise _EndedError from error
        for code, _ in answers:
            if code == _CLOSING:
                raise _EndedError
            if code not in _ACCEPTED:
                raise _judge(code)

    def _hand_over(self, connection: smtplib.SMTP, content: bytes) -> None:
        try:
            code, _ = connection.data(content)
        except smtplib.SMTPDataError as error:
            raise _judge(error.smtp_code) from error
        except OSError as error:
            raise UnknownOutcomeError("the mail server hung up while it had the message") from error
        if code != _OK:
            raise _judge(code)


class _Timed(smtplib.SMTP):
    """A connection whose every wait ends by `until`, on the monotonic clock, or after `timeout` if that is sooner."""

    def __init__(self, until: float, host: str, port: int, **told: Any) -> None:
        self.until = until
        self.replied = 0
        super().__init__(host, port, **told)

    def getreply(self) -> tuple[int, bytes]:
        """Read an answer, as the standard library does, of MOST_A_REPLY bytes at most."""
        self.replied = 0
        if self.file is None:
            self.file = io.BufferedReader(_Answers(self))
        return super().getreply()

    def send(self, s: Any) -> None:
        """Send a command or a message, as the standard library does."""
        raw = s.encode(self.command_encoding) if isinstance(s, str) else s
        for start in range(0, len(raw), _AT_ONCE):
            if self.sock is not None:  # the standard library says of one that is closed that it is
                self.sock.settimeout(self.left())
            super().send(raw[start : start + _AT_ONCE])

    def left(self) -> float:
        """Return how long the next step may take, in seconds. Raises TimeoutError when the time is up."""
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the mail server took too long in all")
        return min(self.timeout, left)


class _Tls(_Timed, smtplib.SMTP_SSL):
    """The same over TLS from its first byte (RFC 8314)."""


class _Answers(io.RawIOBase):
    """What comes in over a connection."""

    def __init__(self, line: _Timed) -> None:
        super().__init__()
        self._line = line

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._line.sock is None:
            return 0
        self._line.sock.settimeout(self._line.left())
        if self._line.replied > MOST_A_REPLY:
            raise OSError("the mail server's reply is too long")
        self._line.replied += (read := self._line.sock.recv_into(buffer))
        return read


class _EndedError(Exception):
    """The server ended the connection before it had anything of the message."""


@cache
def _trusted() -> ssl.SSLContext:
    """The authorities that are trusted, read once a process: reading them takes longer than a mail."""
    return ssl.create_default_context()


def _message_id(letter: Letter) -> str:
    return f"<{hashlib.sha256(letter.key.encode()).hexdigest()[:32]}@portcullis>"


def _judge(code: int) -> PortcullisError:
    if 400 <= code < 500:  # noqa: PLR2004  RFC 5321 4.2.1: a 4yz reply is a transient failure
        return UnavailableError(f"the mail server said not now ({code})")
    return RefusedByOtherSideError(f"the mail server refused the message ({code})")
