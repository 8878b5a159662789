"""The authority on real parts: PostgreSQL under its own role, and a SoftHSM2 token."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm.pkcs11.authority import AuthorityToken
from hsm.power import Power
from tests.integration.hsm.tokens import set_up
from tests.support.authority import House, house_on
from tests.support.servers import SoftHsm


@pytest.fixture(scope="session")
def votes_token(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthorityToken]:
    folder = tmp_path_factory.mktemp("votes-token")
    config = set_up(softhsm.module, softhsm.configuration, folder, Power.AUTHORITY, "votes-of-tests")
    token = AuthorityToken.open(config)
    yield token
    token.close()


@pytest.fixture
def house(fresh_postgres_url: str, votes_token: AuthorityToken, tmp_path: Path) -> Iterator[House]:
    """An authority before set-up."""
    found = house_on(fresh_postgres_url, votes_token, tmp_path)
    yield found
    found.close()


@pytest.fixture
def ready(house: House) -> House:
    """The same after set-up: four people who hold every voting role."""
    house.add_people(4)
    house.complete()
    return house
