"""Vaults on a real database: with a token in memory where every point of death is tried, with SoftHSM2 where it matters."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm.pkcs11.custodian import TokenCustodian
from hsm.power import Power
from hsm.software import ACKNOWLEDGEMENT, SoftwareCustodian
from service.vault import hot, sweeper
from tests.integration.hsm.tokens import set_up
from tests.support.chain import MemoryChain
from tests.support.servers import SoftHsm
from tests.support.vault import VaultHouse, vault_house


@pytest.fixture(autouse=True)
def slow_chains_are_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that stands still makes no chain late."""
    monkeypatch.setattr(hot, "PATIENCE_S", 300.0)
    monkeypatch.setattr(hot, "SENDING_S", 300.0)
    monkeypatch.setattr(sweeper, "SENDING_S", 300.0)
    monkeypatch.setattr(sweeper, "ASKING_S", 300.0)


@pytest.fixture
def chain() -> MemoryChain:
    return MemoryChain()


@pytest.fixture
def house(fresh_postgres_url: str, chain: MemoryChain) -> Iterator[VaultHouse]:
    token = SoftwareCustodian(ACKNOWLEDGEMENT)
    found, close = vault_house(fresh_postgres_url, token, token, {"eip155:1": chain})
    yield found
    close()


@pytest.fixture(scope="session")
def token(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenCustodian]:
    folder: Path = tmp_path_factory.mktemp("sweeping-vault")
    config = set_up(softhsm.module, softhsm.configuration, folder, Power.VAULT, "sweeping-vault")
    custodian = TokenCustodian.open(config)
    yield custodian
    custodian.close()
