"""The drill's own mail server and webhook receiver, used by the standard library's client and by signed requests."""

import base64
import hashlib
import hmac
import smtplib
from collections.abc import Iterator
from email.message import EmailMessage

import httpx
import pytest

from drills.runner.receivers import Letter, Receivers

pytestmark = pytest.mark.servers


@pytest.fixture(name="receivers")
def fixture_receivers() -> Iterator[Receivers]:
    with Receivers() as found:
        yield found


def test_a_mail_arrives_for_each_recipient(receivers: Receivers) -> None:
    mail = EmailMessage()
    mail["Subject"] = "Freigabe nötig"
    mail["From"] = "portcullis@drill.example"
    mail.set_content(".a line that begins with a dot\n")
    with smtplib.SMTP("127.0.0.1", receivers.mail_port, timeout=60) as client:
        refused = client.send_message(mail, to_addrs=["ada@drill.example", "bob@drill.example"])

    assert refused == {}
    assert receivers.letters.all() == [
        Letter("mail", "ada@drill.example", "Freigabe nötig"),
        Letter("mail", "bob@drill.example", "Freigabe nötig"),
    ]


def test_a_webhook_counts_only_with_its_signature(receivers: Receivers) -> None:
    key = base64.b64decode(receivers.webhook_secret.removeprefix("whsec_"))
    signed = hmac.new(key, b"m1.1700000000.{}", hashlib.sha256).digest()
    headers = {"webhook-id": "m1", "webhook-timestamp": "1700000000"}
    good = headers | {"webhook-signature": "v1,AAAA v1," + base64.b64encode(signed).decode()}
    bad = headers | {"webhook-signature": "v1,AAAA"}

    assert httpx.post(receivers.webhook_url, content=b"{}", headers=bad).status_code == 401
    assert httpx.post(receivers.webhook_url, content=b"{}", headers=good).status_code == 204
    assert [letter.by for letter in receivers.letters.all()] == ["webhook"]
