"""Connections and channels as people hand them in: checked by their platform's declaration, secrets sealed at the door.

Rules: a secret is sealed for the one process that opens it before it goes anywhere, so neither the authority nor a stored
document ever holds it; which process that is says the platform's declaration; a setting or secret that the platform does
not know, or a required one that is missing, is refused by name.
"""

import base64
import functools
from pathlib import Path
from typing import Final

from pydantic import BaseModel, Field, SecretStr

from hsm.errors import HsmInputError
from hsm.sealing import seal
from service.discovery import declarations
from service.domain.changes import CHANNEL_KINDS, ChannelSetting, ConnectionSetting, SealedValue
from service.domain.errors import ConfigurationError, InputError
from service.domain.setup import channel_aad, secret_aad
from service.ports.custody import PlatformDeclaration, Setting

SEAL_KEYS: Final = {"api": "api-seal.pem", "containment": "containment-seal.pem"}


class SecretIn(BaseModel):
    """One secret. Several of one kind are numbered: webhook_secret.0, webhook_secret.1."""

    name: str = Field(min_length=1, max_length=64, examples=["webhook_secret.0"])
    value: SecretStr = Field(max_length=60_000)


class ConnectionIn(BaseModel):
    """A connection to a custody platform."""

    id: str = Field(pattern="^[a-z0-9][a-z0-9_-]{0,39}$", examples=["main"])
    platform: str = Field(max_length=40, examples=["standard"])
    name: str = Field(min_length=1, max_length=200, examples=["Main treasury"])
    settings: dict[str, str] = Field(default_factory=dict, max_length=100)
    secrets: list[SecretIn] = Field(default_factory=list, max_length=50)


class ChannelIn(BaseModel):
    """A way to deliver messages: smtp, slack, webhook or apprise."""

    id: str = Field(pattern="^[a-z0-9][a-z0-9_-]{0,39}$", examples=["mail"])
    kind: str = Field(pattern=f"^({'|'.join(CHANNEL_KINDS)})$")
    config: dict[str, str | list[str]] = Field(default_factory=dict, max_length=50)
    secret: SecretStr | None = Field(default=None, max_length=60_000)


@functools.cache
def platforms() -> dict[str, PlatformDeclaration]:
    """Return every platform by name; raises ConfigurationError naming a wrong declaration's file."""
    return declarations("service.custody", "PLATFORM", PlatformDeclaration)


def connection_setting(public: Path, given: ConnectionIn) -> ConnectionSetting:
    """Return a connection with its secrets sealed. Raises InputError naming what is wrong."""
    platform = platforms().get(given.platform)
    if platform is None:
        raise InputError(f"platform is one of {', '.join(sorted(platforms()))}", field="platform")
    declared = {setting.name: setting for setting in platform.settings}
    _check_names(given, declared)
    platform.check_settings(given.settings)
    return ConnectionSetting(
        id=given.id,
        platform=given.platform,
        name=given.name,
        settings=given.settings,
        secrets=tuple(_sealed(public, given.id, secret, declared[_kind(secret.name)]) for secret in given.secrets),
    )


def channel_setting(public: Path, given: ChannelIn) -> ChannelSetting:
    """Return a channel with its secret sealed for the containment worker, which delivers."""
    sealed = ""
    if given.secret is not None:
        sealed = _seal(public, "containment", given.secret, channel_aad(given.id))
    return ChannelSetting(id=given.id, kind=given.kind, config=given.config, sealed_secret=sealed)


def _check_names(given: ConnectionIn, declared: dict[str, Setting]) -> None:
    secret_kinds = {_kind(secret.name) for secret in given.secrets}
    for name in given.settings:
        if name not in declared or declared[name].secret:
            raise InputError(f"platform {given.platform} has no setting {name!r}", field=f"settings.{name}")
    for name in secret_kinds:
        if name not in declared or not declared[name].secret:
            raise InputError(f"platform {given.platform} has no secret {name!r}", field=f"secrets.{name}")
    for name, setting in declared.items():
        if setting.required and name not in (secret_kinds if setting.secret else given.settings):
            raise InputError(f"platform {given.platform} needs {name}: {setting.help}", field=name)


def _sealed(public: Path, connection: str, secret: SecretIn, setting: Setting) -> SealedValue:
    if setting.check is not None:
        try:
            setting.check(secret.value.get_secret_value().encode(), secret.name)
        except ConfigurationError as error:
            raise InputError(str(error), field=f"secrets.{secret.name}") from error
    sealed = _seal(public, setting.opened_by, secret.value, secret_aad(connection, secret.name))
    return SealedValue(name=secret.name, opened_by=setting.opened_by, sealed=sealed)


def _seal(public: Path, opened_by: str, secret: SecretStr, aad: bytes) -> str:
    path = public / SEAL_KEYS[opened_by]
    try:
        pem = path.read_bytes()
        return base64.b64encode(seal(pem, secret.get_secret_value().encode(), aad)).decode("ascii")
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read ({error.strerror}): run `portcullis hsm init`") from error
    except HsmInputError as error:
        raise InputError(f"the secret cannot be sealed: {error}", field="secrets") from error


def _kind(name: str) -> str:
    return name.partition(".")[0]
