"""Every channel against a real receiver: what arrives, and which of the three bad answers each failure is."""

import json
from collections.abc import Iterator

import pytest
from standardwebhooks import Webhook

from service.domain.errors import ConfigurationError, RefusedByOtherSideError, UnavailableError, UnknownOutcomeError
from service.domain.secrets import Secret
from service.notifiers.http import SignedWebhookChannel, SlackChannel
from service.notifiers.longtail import AppriseChannel
from service.notifiers.registry import channels_from
from service.notifiers.smtp import SmtpChannel
from service.ports.notify import Letter
from service.ports.store.registry import ChannelRow
from tests.support.receivers import Inbox, Mailbox, closed_port, running_inbox, running_mailbox

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
LETTER = Letter(
    "key-1", "ada@example.org", "Gate\ndropped", "Look: <now> & ünverzüglich", {"incident": "inc_1", "x": ""}
)


@pytest.fixture
def mailbox() -> Iterator[Mailbox]:
    with running_mailbox() as box:
        yield box


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with running_inbox() as box:
        yield box


def smtp(box: Mailbox) -> SmtpChannel:
    return SmtpChannel("127.0.0.1", box.port, "portcullis@example.org", security="none", timeout_s=60)


def test_a_mail_arrives_with_an_id_that_does_not_change(mailbox: Mailbox) -> None:
    receipts = [smtp(mailbox).deliver(LETTER) for _ in range(2)]
    assert receipts[0] == receipts[1]
    recipient, content = mailbox.mails[0]
    assert recipient == "ada@example.org"
    assert f"Message-ID: {receipts[0]['message_id']}" in content
    assert "Subject: Gate dropped\r\n" in content
    assert "X-Portcullis-Incident: inc_1" in content
    assert "X-Portcullis-X" not in content


@pytest.mark.parametrize(
    ("rcpt", "data", "error"),
    [
        ("550 no such user", "250 OK", RefusedByOtherSideError),
        ("450 greylisted", "250 OK", UnavailableError),
        ("250 OK", "554 spam", RefusedByOtherSideError),
        ("250 OK", "451 later", UnavailableError),
    ],
)
def test_a_mail_server_s_no_is_now_or_never(mailbox: Mailbox, rcpt: str, data: str, error: type[Exception]) -> None:
    mailbox.rcpt_answer, mailbox.data_answer = rcpt, data
    with pytest.raises(error):
        smtp(mailbox).deliver(LETTER)
    assert mailbox.mails == []


def test_a_mail_server_that_hangs_up_with_the_message_in_hand_leaves_it_unknown(mailbox: Mailbox) -> None:
    mailbox.hang_up = True
    with pytest.raises(UnknownOutcomeError):
        smtp(mailbox).deliver(LETTER)
    assert len(mailbox.mails) == 1


def test_a_mail_server_that_is_not_there_may_come_later() -> None:
    with closed_port() as port, pytest.raises(UnavailableError):
        SmtpChannel("127.0.0.1", port, "p@example.org", security="none").deliver(LETTER)


def to(recipient: str) -> Letter:
    return Letter(f"key-{recipient}", recipient, "s", "b", {})


def test_a_burst_goes_over_one_connection(mailbox: Mailbox) -> None:
    with smtp(mailbox).kept() as line:
        for number in range(4):
            line.deliver(to(f"p{number}@example.org"))
    assert mailbox.connections == [[f"p{number}@example.org" for number in range(4)]]


@pytest.mark.parametrize("rudely", [False, True])
def test_a_server_that_ends_a_kept_connection_is_asked_for_another(mailbox: Mailbox, rudely: bool) -> None:  # noqa: FBT001 -- a table of cases
    mailbox.most, mailbox.rudely = 2, rudely
    with smtp(mailbox).kept() as line:
        for number in range(5):
            line.deliver(to(f"p{number}@example.org"))
    assert [len(carried) for carried in mailbox.connections] == [2, 2, 1]
    mailbox.most = 0
    with smtp(mailbox).kept() as line, pytest.raises(UnavailableError):
        line.deliver(to("p@example.org"))
    assert len(mailbox.connections) == 4, "a new connection that takes nothing is not tried again"


def test_no_connection_carries_more_than_its_share_or_anything_after_a_failure(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.notifiers.smtp.MOST_A_CONNECTION", 2)
    with smtp(mailbox).kept() as line:
        for number in range(3):
            line.deliver(to(f"p{number}@example.org"))
        mailbox.rcpt_answer = "550 no such user"
        with pytest.raises(RefusedByOtherSideError):
            line.deliver(to("nobody@example.org"))
        mailbox.rcpt_answer = "250 OK"
        line.deliver(to("p3@example.org"))
    assert [len(carried) for carried in mailbox.connections] == [2, 1, 1]


def test_a_kept_connection_that_breaks_with_a_message_in_hand_leaves_that_one_unknown(mailbox: Mailbox) -> None:
    with smtp(mailbox).kept() as line:
        line.deliver(to("p1@example.org"))
        mailbox.hang_up = True
        with pytest.raises(UnknownOutcomeError):
            line.deliver(to("p2@example.org"))
        mailbox.hang_up = False
        line.deliver(to("p3@example.org"))
    assert [recipient for recipient, _ in mailbox.mails] == [f"p{n}@example.org" for n in (1, 2, 3)]


def test_no_password_goes_over_a_plain_connection(mailbox: Mailbox) -> None:
    with pytest.raises(ConfigurationError, match="starttls or tls"):
        SmtpChannel("127.0.0.1", mailbox.port, "p@example.org", security="none", user="p", password=Secret("x"))
    demanding = SmtpChannel("127.0.0.1", mailbox.port, "p@example.org", user="p", password=Secret("hunter2"))
    with pytest.raises(UnavailableError):
        demanding.deliver(LETTER)
    assert mailbox.mails == []


def test_a_recipient_cannot_bring_headers_along(mailbox: Mailbox) -> None:
    with pytest.raises(RefusedByOtherSideError):
        smtp(mailbox).deliver(Letter("k", "ada@example.org\r\nBcc: eve@example.org", "s", "b", {}))
    assert mailbox.mails == []


BEYOND_ASCII = (
    ("portcullis@example.org", "jürgen@example.org"),
    ("portcullis@example.org", "ada@münchen.de"),
    ("pörtcullis@example.org", "ada@example.org"),
)


@pytest.mark.parametrize(("sender", "recipient"), BEYOND_ASCII)
def test_an_address_beyond_ascii_goes_to_a_server_that_takes_it(mailbox: Mailbox, sender: str, recipient: str) -> None:
    channel = SmtpChannel("127.0.0.1", mailbox.port, sender, security="none", timeout_s=60)
    channel.deliver(to(recipient))
    told, content = mailbox.mails[0]
    assert told == recipient
    assert f"From: {sender}\r\nTo: {recipient}\r\n" in content
    mailbox.ascii_only = True
    with channel.kept() as line:
        with pytest.raises(RefusedByOtherSideError, match="ASCII"):
            line.deliver(to(recipient))
        if sender.isascii():
            line.deliver(LETTER)
    assert len(mailbox.mails) == 1 + sender.isascii()


def test_a_mail_server_whose_name_is_none_is_refused() -> None:
    with pytest.raises(RefusedByOtherSideError, match="no server's name"):
        SmtpChannel("x" * 64 + ".example", 25, "p@example.org", security="none").deliver(LETTER)


def test_a_signed_webhook_verifies_with_the_official_library(inbox: Inbox) -> None:
    channel = SignedWebhookChannel(inbox.url, Secret(KEY))
    channel.deliver(LETTER)
    channel.deliver(LETTER)
    headers, body = inbox.requests[0]
    said = Webhook(KEY).verify(body, headers)
    assert said["recipient"] == "ada@example.org"
    assert said["facts"]["incident"] == "inc_1"
    assert headers["webhook-id"] == inbox.requests[1][0]["webhook-id"]


def test_a_slack_text_cannot_call_everybody(inbox: Inbox) -> None:
    SlackChannel(Secret(inbox.url)).deliver(Letter("k", "", "<!channel>", "<https://evil|click> & go", {}))
    text = json.loads(inbox.requests[0][1])["text"]
    assert text == "*&lt;!channel&gt;*\n&lt;https://evil|click&gt; &amp; go"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, RefusedByOtherSideError),
        (302, RefusedByOtherSideError),
        (429, UnavailableError),
        (503, UnavailableError),
        (-1, UnknownOutcomeError),
    ],
)
def test_an_http_receiver_s_no(inbox: Inbox, status: int, error: type[Exception]) -> None:
    inbox.statuses = [status]
    with pytest.raises(error) as raised:
        SignedWebhookChannel(inbox.url, Secret(KEY)).deliver(LETTER)
    assert KEY.removeprefix("whsec_") not in str(raised.value)


def test_an_http_receiver_that_is_not_there_may_come_later() -> None:
    with closed_port() as port, pytest.raises(UnavailableError):
        SlackChannel(Secret(f"http://127.0.0.1:{port}/T/B/secret")).deliver(LETTER)
    with pytest.raises(RefusedByOtherSideError):
        SlackChannel(Secret("ftp://127.0.0.1/x")).deliver(LETTER)


@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")  # apprise's own import
def test_apprise_says_no_without_a_reason_so_it_is_unknown(inbox: Inbox) -> None:
    url = Secret(inbox.url.replace("http://", "json://"))
    assert AppriseChannel(url).deliver(LETTER) == {"service": "apprise"}
    inbox.statuses = [500]
    with pytest.raises(UnknownOutcomeError):
        AppriseChannel(url).deliver(LETTER)
    with pytest.raises(RefusedByOtherSideError):
        AppriseChannel(Secret("nonsense")).deliver(LETTER)


def test_one_wrong_channel_does_not_silence_the_others(mailbox: Mailbox) -> None:
    config = {"host": "127.0.0.1", "port": mailbox.port, "sender": "p@example.org", "security": "none"}
    rows = [
        ChannelRow("good", "smtp", config, None),
        ChannelRow("lacking", "smtp", {"host": "h"}, None),
        ChannelRow("plain", "smtp", config | {"security": "ssl"}, None),
        ChannelRow("strange", "pigeon", {}, b"x"),
        ChannelRow("short", "webhook", {"url": "http://127.0.0.1"}, b"whsec_YWJj"),
        ChannelRow("sealed", "slack", {}, b"\xff\xfe"),
        ChannelRow("bare", "slack", {}, None),
        ChannelRow("accented", "smtp", config | {"security": "tls", "user": "p"}, "pässword".encode()),
    ]
    found = channels_from(rows, lambda sealed, _aad: sealed)
    found["good"].deliver(LETTER)
    assert len(mailbox.mails) == 1
    for name in ("lacking", "plain", "strange", "short", "sealed", "bare", "accented"):
        with pytest.raises(RefusedByOtherSideError, match=name):
            found[name].deliver(LETTER)

    def busy(_sealed: bytes, _aad: bytes) -> bytes:
        raise UnavailableError("the token is busy")

    with pytest.raises(UnavailableError):
        channels_from(rows, busy)
