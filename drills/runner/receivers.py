"""Where the drill's people get their messages: a mail server and a webhook receiver on loopback.

Rules: RFC 5321 as far as one relay on the same machine needs it (no TLS, no extension but 8BITMIME and SIZE), bounded in
size; a webhook counts only with a right Standard Webhooks 1.0.0 signature. Both keep what they got, and nothing leaves.
"""

import base64
import hashlib
import hmac
import secrets
import socketserver
import sys
import threading
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"
MAX_MESSAGE_BYTES = 1024 * 1024
MAX_LINE_BYTES = 2048
CREATED, UNAUTHORIZED, TOO_LARGE = 204, 401, 413


@dataclass(frozen=True, slots=True)
class Letter:
    """One message that arrived. `by`: mail or webhook."""

    by: str
    recipient: str
    subject: str


@dataclass(slots=True)
class Letters:
    """All messages that arrived, in order; safe to use from any thread."""

    _all: list[Letter] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, letter: Letter) -> None:
        """Keep one."""
        with self._lock:
            self._all.append(letter)

    def all(self) -> list[Letter]:
        """Return what arrived so far."""
        with self._lock:
            return list(self._all)


class Receivers:
    """Both receivers, each with its thread, as a context manager. `webhook_secret` is the webhook's, not shown."""

    def __init__(self) -> None:
        self.letters = Letters()
        self._key = secrets.token_bytes(32)
        letters, key = self.letters, self._key

        class Mail(_MailSession):
            inbox = letters

        class Web(_WebSession):
            inbox = letters
            signing_key = key

        self._mail = _MailServer((LOOPBACK, 0), Mail)
        self._web = ThreadingHTTPServer((LOOPBACK, 0), Web)

    @property
    def mail_port(self) -> int:
        """Port of the mail server on 127.0.0.1."""
        return int(self._mail.server_address[1])

    @property
    def webhook_url(self) -> str:
        """URL of the webhook receiver."""
        return f"http://{LOOPBACK}:{self._web.server_address[1]}/messages"

    @property
    def webhook_secret(self) -> str:
        """The `whsec_` secret that signs for the webhook receiver."""
        return "whsec_" + base64.b64encode(self._key).decode()

    def __enter__(self) -> Self:
        for server in (self._mail, self._web):
            threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in (self._mail, self._web):
            server.shutdown()
            server.server_close()


class _MailServer(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of a sender that went away in the middle: it was killed, and sends again."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # handed on as it came


class _MailSession(socketserver.StreamRequestHandler):
    """One connection: EHLO, MAIL, RCPT, DATA, RSET, NOOP, QUIT."""

    timeout = 30
    inbox: Letters

    def handle(self) -> None:
        self._recipients: list[str] = []
        self._say("220 drill ESMTP")
        while line := self.rfile.readline(MAX_LINE_BYTES):
            verb, _, rest = line.decode("ascii", "replace").strip().partition(" ")
            if not self._answer(verb.upper(), rest):
                return

    def _answer(self, verb: str, rest: str) -> bool:
        match verb:
            case "EHLO":
                self._say("250-drill", "250-8BITMIME", f"250 SIZE {MAX_MESSAGE_BYTES}")
            case "RCPT":
                self._recipients.append(rest.partition("<")[2].partition(">")[0])
                self._say("250 OK")
            case "DATA":
                return self._take()
            case "MAIL" | "RSET" | "HELO" | "NOOP":
                self._recipients.clear()
                self._say("250 OK")
            case "QUIT":
                self._say("221 bye")
                return False
            case _:
                self._say("502 not known here")
        return True

    def _take(self) -> bool:
        self._say("354 end with a dot")
        body = bytearray()
        while (line := self.rfile.readline(MAX_LINE_BYTES)) not in {b".\r\n", b".\n", b""}:
            body += line[1:] if line.startswith(b"..") else line
            if len(body) > MAX_MESSAGE_BYTES:
                self._say("552 too large")
                return False
        mail = message_from_bytes(bytes(body), policy=policy.default)
        for recipient in self._recipients:
            self.inbox.add(Letter("mail", recipient, str(mail.get("Subject", ""))))
        self._say("250 taken")
        return True

    def _say(self, *lines: str) -> None:
        self.wfile.write("".join(f"{line}\r\n" for line in lines).encode())


class _WebSession(BaseHTTPRequestHandler):
    """POST of one signed message."""

    timeout = 30
    inbox: Letters
    signing_key: bytes

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 < length <= MAX_MESSAGE_BYTES:
            self._end(TOO_LARGE)
            return
        body = self.rfile.read(length)
        if not self._is_signed(body):
            self._end(UNAUTHORIZED)
            return
        self.inbox.add(Letter("webhook", "users", self.headers.get("webhook-id", "")))
        self._end(CREATED)

    def _is_signed(self, body: bytes) -> bool:
        signed = f"{self.headers.get('webhook-id')}.{self.headers.get('webhook-timestamp')}.".encode() + body
        wanted = "v1," + base64.b64encode(hmac.new(self.signing_key, signed, hashlib.sha256).digest()).decode()
        given = self.headers.get("webhook-signature", "").split(" ")
        return any(hmac.compare_digest(one.encode(), wanted.encode()) for one in given)

    def _end(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: the display owns the terminal."""
