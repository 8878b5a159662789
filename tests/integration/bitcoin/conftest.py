"""One regtest chain and one vault token for all tests of this folder: each test makes wallets of its own."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import pytest

from hsm.pkcs11.custodian import TokenCustodian
from hsm.power import Power
from tests.integration.hsm.tokens import set_up
from tests.support.cosigners import Cosigners, Custodian
from tests.support.regtest import Regtest
from tests.support.servers import SoftHsm


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
