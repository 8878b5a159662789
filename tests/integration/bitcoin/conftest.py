"""One regtest chain and one vault token for all tests of this folder: each test makes wallets of its own."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import cast

import pytest

from hsm.pkcs11.custodian import TokenCustodian
from hsm.power import Power
from service.chain.bitcoin import EsploraChain
from service.domain.bitcoin.descriptor import Descriptor, Kind
from service.domain.bitcoin.network import REGTEST
from tests.integration.hsm.tokens import set_up
from tests.support.cosigners import Cosigners, Custodian, two_of_three
from tests.support.esplora import Esplora, esplora
from tests.support.regtest import Regtest
from tests.support.servers import SoftHsm
from tests.support.vault import VaultHouse, vault_house


@pytest.fixture(scope="session")
def mined(tmp_path_factory: pytest.TempPathFactory) -> Regtest:
    chain = Regtest(tmp_path_factory.mktemp("regtest"))
    chain.grow(130)
    return chain


@pytest.fixture(scope="session")
def token(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenCustodian]:
    folder: Path = tmp_path_factory.mktemp("bitcoin-vault")
    config = set_up(softhsm.module, softhsm.configuration, folder, Power.VAULT, "bitcoin-vault")
    custodian = TokenCustodian.open(config)
    yield custodian
    custodian.close()


@pytest.fixture
def cosigners(token: TokenCustodian) -> Cosigners:
    return Cosigners(cast("Custodian", token))


@pytest.fixture
def node(mined: Regtest) -> Iterator[tuple[Esplora, str]]:
    with esplora(mined) as found:
        yield found


@pytest.fixture
def house(fresh_postgres_url: str, token: TokenCustodian, node: tuple[Esplora, str]) -> Iterator[VaultHouse]:
    with closing(EsploraChain(node[1], REGTEST)) as chain:
        found, close = vault_house(fresh_postgres_url, token, token.statements, {}, {REGTEST.chain: chain})
        yield found
        close()


@pytest.fixture
def server(node: tuple[Esplora, str]) -> Esplora:
    return node[0]


@pytest.fixture
def safe(mined: Regtest, cosigners: Cosigners, tmp_path: Path) -> Descriptor:
    return two_of_three(cosigners, Kind.WSH, f"cold{abs(hash(tmp_path))}")[0]
