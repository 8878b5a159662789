import base64
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks.webhooks import Webhook

from service.custody.standard.webhooks import StandardReceiver, symmetric_key
from service.domain.errors import ConfigurationError, InputError, UnauthenticatedError
from service.domain.ids import ConnectionId
from service.ports.custody import ConnectionConfig
from tests.support.intake import encoded, signed, withdrawal

OFFICIAL_SECRET = b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
OFFICIAL = {
    b"webhook-id": b"msg_p5jXN8AQM9LWM0D4loKWxJek",
    b"webhook-timestamp": b"1614265330",
    b"webhook-signature": b"v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
BODY = b'{"test": 2432232314}'


def receiver(*secrets: bytes, keys: str = "") -> StandardReceiver:
    named = {f"webhook_secret.{i}": secret for i, secret in enumerate(secrets)}
    config = ConnectionConfig(
        ConnectionId("c"), "standard", {"webhook_public_keys": keys}, named.__getitem__, tuple(named)
    )
    return StandardReceiver(config)


def test_the_official_vector_verifies_and_only_within_its_time() -> None:
    there = receiver(OFFICIAL_SECRET)
    for now_s in (1614265330 - 300, 1614265330, 1614265330 + 300):
        with pytest.raises(InputError, match="type"):
            there.receive(OFFICIAL, BODY, now_s=now_s)
    for now_s in (1614265330 - 301, 1614265330 + 301):
        with pytest.raises(UnauthenticatedError):
            there.receive(OFFICIAL, BODY, now_s=now_s)


def test_what_the_official_library_signs_verifies() -> None:
    body = encoded(withdrawal(1))
    at = datetime.now(UTC)
    signature = Webhook(OFFICIAL_SECRET.decode()).sign("msg_1", at, body.decode())
    headers = {
        b"webhook-id": b"msg_1",
        b"webhook-timestamp": str(int(at.timestamp())).encode(),
        b"webhook-signature": signature.encode(),
    }
    found = receiver(b"whsec_" + base64.b64encode(bytes(32)), OFFICIAL_SECRET).receive(
        headers, body, now_s=at.timestamp()
    )
    assert found.event_id == "msg_1"
    assert found.activity is not None
    assert found.activity.account == "hot-1"


def test_v1a_signatures_verify() -> None:
    key = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    public = key.public_key().public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)
    assert base64.b64encode(public) == b"A6EHv/POEL4dcN0Y50vAmWfk1jCbpQ1fHdyGZBJVMbg="
    body = encoded(withdrawal(1))
    signature = base64.b64encode(key.sign(b"msg_1.1000." + body))
    headers = {
        b"webhook-id": b"msg_1",
        b"webhook-timestamp": b"1000",
        b"webhook-signature": b"v1,AAAA v1a,AAAA v1a," + signature,
    }
    there = receiver(keys="whpk_" + base64.b64encode(public).decode())
    assert there.receive(headers, body, now_s=1000).event_id == "msg_1"
    with pytest.raises(UnauthenticatedError):
        there.receive(headers, body + b" ", now_s=1000)


@given(
    st.fixed_dictionaries(
        {},
        optional={
            b"webhook-id": st.binary(max_size=20),
            b"webhook-timestamp": st.binary(max_size=20),
            b"webhook-signature": st.binary(max_size=60),
        },
    ),
    st.binary(max_size=20),
)
def test_nothing_unsigned_ever_raises_anything_but_a_refusal(headers: dict[bytes, bytes], body: bytes) -> None:
    with pytest.raises(UnauthenticatedError):
        receiver(OFFICIAL_SECRET).receive(headers, body, now_s=0)


def test_a_signature_for_another_id_time_or_body_is_refused() -> None:
    body = encoded(withdrawal(1))
    headers = {name.encode(): value.encode() for name, value in signed("m", body, at=1000).items()}
    there = receiver(b"whsec_" + base64.b64encode(bytes(range(32))))
    there.receive(headers, body, now_s=1000)
    for changed in ({b"webhook-id": b"n"}, {b"webhook-timestamp": b"1001"}):
        with pytest.raises(UnauthenticatedError):
            there.receive(headers | changed, body, now_s=1000)
    with pytest.raises(UnauthenticatedError):
        there.receive(headers, body[:-1], now_s=1000)


@pytest.mark.parametrize(
    "secret", [b"", b"whsec_", b"whsec_c2hvcnQ=", b"abc", b"whsec_%%%", b"\xff", OFFICIAL_SECRET[6:]]
)
def test_a_secret_of_the_wrong_form_is_named(secret: bytes) -> None:
    with pytest.raises(ConfigurationError) as refused:
        symmetric_key(secret, "webhook_secret.0")
    assert refused.value.field == "webhook_secret.0"


def test_a_connection_without_any_key_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nothing could ever verify"):
        receiver()
