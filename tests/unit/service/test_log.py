"""No secret reaches a log line, whichever way it comes; what is none stays readable."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import structlog

from service import log
from service.domain.secrets import Secret

SECRETS = (
    "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "pcl_01JD0000000000000000000000_b-64_url-Secret",
    "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "xprv9s21ZrQH143K3QTDL4LXw2F7HEK3wJUD2nW2nRk4stbPy6cq3jPPqjiChkVvvNKmPGJxWUtg6LnF5kejMRNNU3TGtRBeJgk33yuGBxrMPHi",
    "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrY\n-----END EC PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\nMHcCAQEEIIrYcutoff",
    "otpauth://totp/Portcullis:ada?secret=JBSWY3DPEHPK3PXP&issuer=Portcullis",
)
URLS = {
    "postgresql://portcullis_api:s3cr3t-pw@/db?host=/run/pg": "s3cr3t-pw",
    "redis://:s3cr3t-pw@127.0.0.1/0": "s3cr3t-pw",
    "redis+socket:///run/valkey?password=s3cr3t-pw": "s3cr3t-pw",
    "pkcs11:token=vault?pin-value=1234secret&module-path=/x": "1234secret",
    "https://hooks.slack.com/services/T000/B000/abcdefSECRET": "abcdefSECRET",
    "https://rpc.example/v1?api_key=abcdefSECRET": "abcdefSECRET",
    "Authorization: Bearer abcdefSECRET": "abcdefSECRET",
    "connection failed: host=db user=p password=s3cr3t-pw dbname=x": "s3cr3t-pw",
}


Lines = Callable[[], list[dict[str, Any]]]


@pytest.fixture
def start(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[[], Lines]]:
    """Configure the logs when the test says so, because only then standard output is the test's; returns the reader."""
    root = logging.getLogger()
    before, level, usual = root.handlers[:], root.level, structlog.get_config()

    def begin() -> Lines:
        log.configure("api")
        return lambda: [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    yield begin
    root.handlers[:] = before
    root.setLevel(level)
    structlog.configure(**usual)
    structlog.contextvars.clear_contextvars()


@dataclass
class Holder:
    inner: str


@pytest.mark.parametrize("secret", SECRETS)
def test_a_secret_is_cut_out_wherever_it_stands(start: Callable[[], Lines], secret: str) -> None:
    lines = start()
    logger = structlog.get_logger("test")
    logger.info("said " + secret + " aloud")  # noqa: G003  the secret must be inside the text
    logger.info(
        "nested", body={"a": [{"b": (secret, "plain")}]}, held=Holder(secret), raw=secret.encode(), keys={secret: 1}
    )
    logger.info("refused", error=ValueError(f"cannot use {secret}"))
    try:
        raise RuntimeError(f"with {secret}") from ValueError(secret)  # noqa: TRY301  a traceback is what is logged
    except RuntimeError:
        logger.exception("failed")
        logging.getLogger("library").exception("failed too: %s", secret)
    logging.getLogger("library").warning("foreign %s", secret, extra={"detail": {"deep": secret}})
    found = lines()
    assert len(found) == 6
    pieces = [secret, secret.replace("\n", "\\n"), "MHcCAQEEIIrY", "JBSWY3DPEHPK3PXP"]
    text = json.dumps(found)
    assert not [p for p in pieces if p in text and (p in secret)], text
    assert "plain" in text


@pytest.mark.parametrize("text", URLS)
def test_the_secret_part_of_a_text_is_cut_out_and_the_rest_stays(start: Callable[[], Lines], text: str) -> None:
    lines = start()
    structlog.get_logger("test").warning("connect", target=text, error=OSError(text))
    (line,) = lines()
    assert URLS[text] not in json.dumps(line)
    assert line["target"].startswith(text[:8])


@pytest.mark.parametrize(
    "name",
    ["password", "password_hash", "api_secret", "private_key", "api_key_private", "pin", "user_pin", "token", "seed",
     "totp_code", "code", "authorization", "webhook-signature", "Cookie", "mnemonic_words"],
)  # fmt: skip
def test_a_field_whose_name_says_secret_is_emptied(start: Callable[[], Lines], name: str) -> None:
    lines = start()
    structlog.get_logger("test").info("x", **{name: "abc"}, inside={name: {"deep": "abc"}})
    (line,) = lines()
    assert line[name] == line["inside"][name] == "[redacted]"


def test_what_is_no_secret_stays(start: Callable[[], Lines]) -> None:
    lines = start()
    facts = {
        "incident_id": "inc_01JD0000000000000000000000",
        "public_key": "03ab",
        "idempotency_key": "step:1",
        "dedup_key": "a|b",
        "error_code": "conflict",
        "exit_code": 3,
        "transaction": "0x" + "ab" * 32,
        "url": "https://example.org:8443/path?page=2",
        "count": 7,
        "none": None,
    }
    structlog.contextvars.bind_contextvars(trace_id="t-1")
    structlog.get_logger("test").info("all well", **facts)
    (line,) = lines()
    assert {name: line[name] for name in facts} == facts
    assert (line["trace_id"], line["process"], line["level"], line["event"]) == ("t-1", "api", "info", "all well")


def test_a_secret_does_not_show_itself(start: Callable[[], Lines]) -> None:
    lines = start()
    structlog.get_logger("test").info("x", held=Secret("hunter2"), more=[Secret("hunter2")])
    assert "hunter2" not in json.dumps(lines())


def test_values_that_contain_themselves_end(start: Callable[[], Lines]) -> None:
    lines = start()
    deep: dict[str, object] = {}
    deep["again"] = deep
    structlog.get_logger("test").info("x", deep=deep)
    assert len(lines()) == 1
