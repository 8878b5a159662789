"""A secret of the wrong form is refused when it is handed in, by name and without being repeated."""

import base64
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from pydantic import SecretStr

from service.api.sealed import ConnectionIn, SecretIn, connection_setting
from service.domain.errors import InputError

GOOD = "whsec_" + base64.b64encode(bytes(32)).decode()


@pytest.fixture
def public(tmp_path: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    (tmp_path / "api-seal.pem").write_bytes(key.public_bytes(serialization.Encoding.PEM, form))
    shutil.copy(tmp_path / "api-seal.pem", tmp_path / "containment-seal.pem")
    return tmp_path


def connection(platform: str, name: str, value: str, **settings: str) -> ConnectionIn:
    secret = SecretIn(name=name, value=SecretStr(value))
    return ConnectionIn(id="main", platform=platform, name="Main", settings=settings, secrets=[secret])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook_secret.0", "hush"),
        ("webhook_secret.0", "whsec_"),
        ("webhook_secret.0", "whsec_!!!!"),
        ("webhook_secret.0", "whsec_" + base64.b64encode(bytes(23)).decode()),
        ("webhook_secret.0", "whsec_" + base64.b64encode(bytes(65)).decode()),
        ("webhook_secret.1", "whsk_" + base64.b64encode(bytes(32)).decode()),
        ("webhook_secret.0", "whsec_\N{SNOWMAN}"),
        ("action_secret", base64.b64encode(bytes(32)).decode()),
    ],
)
def test_a_webhook_secret_of_the_wrong_form(public: Path, name: str, value: str) -> None:
    with pytest.raises(InputError, match="must be whsec_ and base64 of 24 to 64 bytes") as refused:
        connection_setting(public, connection("standard", name, value))
    assert refused.value.field == f"secrets.{name}"
    assert value.removeprefix("whsec_")[:8] not in str(refused.value) or value == "whsec_"


def test_a_right_one_is_taken(public: Path) -> None:
    assert connection_setting(public, connection("standard", "webhook_secret.0", GOOD)).secrets


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes | None = None) -> str:
    hide: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        hide = serialization.BestAvailableEncryption(password)
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, hide).decode()


def test_an_api_signing_key_of_the_wrong_form(public: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    settings = {"api_base_url": "https://api.example/v1", "api_key": "k", "workspace_id": "w"}
    wrong = ["hush", pem_of(ec.generate_private_key(ec.SECP256R1())), pem_of(key, b"passphrase")]
    for value in wrong:
        with pytest.raises(InputError, match="RSA private key of at least 2048 bits") as refused:
            connection_setting(public, connection("fireblocks", "api_private_key", value, **settings))
        assert refused.value.field == "secrets.api_private_key"
    assert connection_setting(public, connection("fireblocks", "api_private_key", pem_of(key), **settings)).secrets
