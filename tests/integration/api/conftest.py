"""The API on real parts: PostgreSQL under the API's role; people, policy and votes from a real authority."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from hsm.pkcs11.authority import AuthorityToken
from hsm.power import Power
from service.domain.quorum import Quorum, Role
from tests.integration.hsm.tokens import set_up
from tests.support.api import ApiWorld, api_on
from tests.support.authority import House, house_on
from tests.support.incidents import add_connection
from tests.support.servers import SoftHsm


@pytest.fixture(scope="session")
def api_votes_token(softhsm: SoftHsm, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AuthorityToken]:
    folder = tmp_path_factory.mktemp("api-votes-token")
    token = AuthorityToken.open(
        set_up(softhsm.module, softhsm.configuration, folder, Power.AUTHORITY, "votes-of-api-tests")
    )
    yield token
    token.close()


@pytest.fixture(scope="module")
def house(
    postgres_url: str, api_votes_token: AuthorityToken, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[House]:
    """An authority after set-up: four people who hold every voting role."""
    found = house_on(postgres_url, api_votes_token, tmp_path_factory.mktemp("house"))
    declared = {**found.first.declared, "resume_withdrawals": Quorum.of(2, Role.APPROVER)}
    found.first = replace(found.first, declared=declared)
    found.add_people(4)
    found.complete()
    yield found
    found.close()


@pytest.fixture(scope="module")
def world(postgres_url: str, house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiWorld]:
    folder: Path = tmp_path_factory.mktemp("api")
    found = api_on(postgres_url, house.clock, folder)
    with found.database.begin() as uow:
        add_connection(uow.connection)
        uow.connection.execute(text('UPDATE connections SET config = \'{"api_secret_path": "hidden-setting"}\''))
    yield found
    found.close()
