"""Secrets are sealed at the door for the one process that opens them, and unknown names are refused."""

from pathlib import Path
from unittest.mock import Mock

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pydantic import SecretStr

from hsm.errors import SealError
from hsm.sealing import Envelope, oaep_sha1, open_with_key
from service.api import sealed
from service.api.sealed import ChannelIn, ConnectionIn, SecretIn, channel_setting, connection_setting
from service.domain.changes import sealed_bytes
from service.domain.errors import ConfigurationError, InputError
from service.domain.setup import channel_aad, secret_aad
from service.ports.custody import PlatformDeclaration, Setting

API_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SETTINGS = (
    Setting("webhook_secret", required=True, secret=True, opened_by="api", help="whsec_…"),
    Setting("action_secret", required=False, secret=True, opened_by="containment", help="whsec_…"),
    Setting("tenant", required=True, secret=False, opened_by="", help="the tenant"),
)
GIVEN = ConnectionIn(
    id="main",
    platform="standard",
    name="Main",
    settings={"tenant": "t"},
    secrets=[SecretIn(name="webhook_secret.0", value=SecretStr("whsec_hush"))],
)


@pytest.fixture
def public(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    pem = API_KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "api-seal.pem").write_bytes(pem)
    (tmp_path / "containment-seal.pem").write_bytes(pem)
    declared = PlatformDeclaration(
        name="standard",
        title="Standard",
        settings=SETTINGS,
        capabilities=frozenset(),
        missing={},
        receiver=Mock(),
        calls=Mock(),
        check_settings=lambda _settings: None,
    )
    monkeypatch.setattr(sealed, "platforms", lambda: {"standard": declared})
    return tmp_path


def unsealed(text: str, aad: bytes) -> bytes:
    envelope = Envelope.parse(sealed_bytes(text, "sealed"))
    return open_with_key(envelope, API_KEY.decrypt(envelope.wrapped, oaep_sha1()), aad)


def test_a_secret_opens_for_its_connection_and_name_only(public: Path) -> None:
    (secret,) = connection_setting(public, GIVEN).secrets
    assert (secret.name, secret.opened_by) == ("webhook_secret.0", "api")
    assert unsealed(secret.sealed, secret_aad("main", "webhook_secret.0")) == b"whsec_hush"
    for aad in (secret_aad("other", "webhook_secret.0"), secret_aad("main", "webhook_secret.1")):
        with pytest.raises(SealError):
            unsealed(secret.sealed, aad)


def test_a_channels_secret_is_sealed_too(public: Path) -> None:
    given = ChannelIn(id="hook", kind="webhook", config={"url": "https://x"}, secret=SecretStr("hush"))
    assert unsealed(channel_setting(public, given).sealed_secret, channel_aad("hook")) == b"hush"
    assert channel_setting(public, ChannelIn(id="mail", kind="smtp")).sealed_secret == ""


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"platform": "nobody"}, "platform"),
        ({"settings": {}}, "tenant"),
        ({"settings": {"tenant": "t", "colour": "red"}}, "settings.colour"),
        ({"settings": {"tenant": "t", "webhook_secret": "plain"}}, "settings.webhook_secret"),
        ({"secrets": []}, "webhook_secret"),
        ({"secrets": [SecretIn(name="tenant", value=SecretStr("x"))]}, "secrets.tenant"),
    ],
)
def test_what_the_platform_does_not_declare_is_refused(public: Path, changes: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as refused:
        connection_setting(public, GIVEN.model_copy(update=changes))
    assert refused.value.field == field


def test_a_missing_key_is_our_configuration(public: Path) -> None:
    (public / "api-seal.pem").unlink()
    with pytest.raises(ConfigurationError, match=r"api-seal\.pem"):
        connection_setting(public, GIVEN)


def test_no_repr_shows_a_secret(public: Path) -> None:
    assert "whsec_hush" not in repr(GIVEN) + repr(connection_setting(public, GIVEN))
