"""The key worker's child protects its memory before the token, and so any seed, is opened; a secret is its connection's."""

from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hsm.errors import HsmInputError
from hsm.memory import MemoryProtection
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.custodian import TokenCustodian
from service.config import Settings, TokenSettings
from service.discovery import declarations
from service.domain.errors import RefusedByOtherSideError, UnavailableError
from service.domain.ids import ConnectionId
from service.domain.secrets import Secret
from service.domain.setup import secret_aad
from service.ports.custody import Capability, ConnectionConfig, PlatformDeclaration
from workers import roots
from workers.lines import Lines
from workers.opened import Opened


class OpenedError(Exception):
    """The token was about to be opened."""


def test_memory_is_protected_before_the_token_is_opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    done: list[str] = []

    def protect() -> MemoryProtection:
        done.append("protected")
        return MemoryProtection(locked=True, no_core=True, not_dumpable=True)

    def opening(_config: TokenConfig) -> None:
        done.append("opened")
        raise OpenedError

    monkeypatch.setattr(roots, "protect_process", protect)
    monkeypatch.setattr(TokenCustodian, "open", opening)
    uri = f"pkcs11:token=t?module-path={tmp_path}/m.so&pin-source=file:{tmp_path}/pin"
    settings = Settings("keys", tmp_path, Secret("postgresql://unused"), tmp_path / "a.sock", TokenSettings(uri, None))
    with pytest.raises(OpenedError):
        roots.keys_root(settings)
    assert done == ["protected", "opened"]


class Secrets:
    """Unseals what begins with the data that it is bound to."""

    def unseal(self, sealed: bytes, aad: bytes) -> bytes:
        bound, _, content = sealed.partition(b"|")
        if bound != aad:
            raise HsmInputError("sealed for something else")
        return content


def test_bytes_copied_into_the_row_of_another_connection_open_nothing() -> None:
    sealed = secret_aad("mine", "token") + b"|hush"
    token, opened = cast("Any", SimpleNamespace(secrets=Secrets())), Opened(kept_s=3600)

    def secret(connection: str, name: str) -> bytes:
        row = cast("Any", SimpleNamespace(id=ConnectionId(connection), platform="standard", settings={}))
        config, _ = roots._configured(token, opened, (row, {name: sealed}))
        return config.secret(name)

    assert secret("mine", "token") == b"hush"
    for connection, name in (("thief", "token"), ("mine", "other")):
        with pytest.raises(RefusedByOtherSideError):
            secret(connection, name)


PLATFORMS = declarations(roots.PLATFORMS, "PLATFORM", PlatformDeclaration)


def lacking(platform: str, capability: Capability, **settings: str) -> str | None:
    """Return what the containment worker's plan is told of a connection."""
    nothing = cast("Any", SimpleNamespace(secrets=Secrets(), has_api_key=lambda _: False))
    row = SimpleNamespace(id=ConnectionId("main"), platform=platform, settings=settings)
    uow = cast("Any", SimpleNamespace(registry=SimpleNamespace(reached=lambda _connection, _opened_by: (row, {}))))
    lines = Lines(partial(roots._line, nothing, nothing, PLATFORMS))
    reached = partial(roots._configured, nothing, Opened())
    return roots._lacks(reached, lines, uow, ConnectionId("main"), capability)


def test_a_plan_is_told_what_a_connection_can_never_do_and_what_to_do_by_hand() -> None:
    told = lacking("evm", Capability.PUBLISH_ADDRESS)
    assert told == "an own wallet has no publish_address: give payers the new address by hand"
    assert "its signers do not ask our gate" in str(lacking("evm", Capability.HOLD_OUTGOING))
    assert lacking("evm", Capability.HOLD_OUTGOING, signers_ask_gate="yes") is None


def test_a_connection_of_a_platform_that_can_is_asked_itself() -> None:
    """Without an API user nothing can be published at Fireblocks either."""
    assert "publish_address" in str(lacking("fireblocks", Capability.PUBLISH_ADDRESS))


def test_a_connection_that_cannot_be_made_ready_is_no_word_of_the_platform(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable(_config: ConnectionConfig) -> None:
        raise UnavailableError("no database")

    monkeypatch.setattr(roots, "_line", lambda *_: unreadable(cast("Any", None)))
    assert lacking("evm", Capability.PUBLISH_ADDRESS) is None
