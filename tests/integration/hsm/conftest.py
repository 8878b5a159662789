"""Tokens of the pytest process's own SoftHSM2. One module per process, so all tests share its token folder."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hsm.pkcs11.authority import AuthorityToken
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.custodian import TokenCustodian
from hsm.pkcs11.gate import GateSigner
from hsm.pkcs11.platform import PlatformToken
from hsm.power import Power
from tests.integration.hsm.tokens import set_up
from tests.support.servers import SoftHsm

MakeToken = Callable[[Power, str], TokenConfig]


@pytest.fixture(scope="session")
def make_token(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> MakeToken:
    """Set up a token for a power under a label of the test's own."""

    def make(power: Power, label: str) -> TokenConfig:
        folder: Path = tmp_path_factory.mktemp(label)
        return set_up(softhsm.module, softhsm.configuration, folder, power, label)

    return make


@pytest.fixture(scope="session")
def vault(make_token: MakeToken) -> Iterator[TokenCustodian]:
    custodian = TokenCustodian.open(make_token(Power.VAULT, "test-vault"))
    yield custodian
    custodian.close()


@pytest.fixture(scope="session")
def gate(make_token: MakeToken) -> Iterator[GateSigner]:
    signer = GateSigner.open(make_token(Power.GATE, "test-gate"))
    yield signer
    signer.close()


@pytest.fixture(scope="session")
def authority(make_token: MakeToken) -> Iterator[AuthorityToken]:
    token = AuthorityToken.open(make_token(Power.AUTHORITY, "test-authority"))
    yield token
    token.close()


@pytest.fixture(scope="session")
def platform(make_token: MakeToken) -> Iterator[PlatformToken]:
    token = PlatformToken.open(make_token(Power.PLATFORM, "test-platform"))
    yield token
    token.close()
