"""The key worker's child protects its memory before the token, and so any seed, is opened."""

from pathlib import Path

import pytest

from hsm.memory import MemoryProtection
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.custodian import TokenCustodian
from service.config import Settings, TokenSettings
from service.domain.secrets import Secret
from workers import roots


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
