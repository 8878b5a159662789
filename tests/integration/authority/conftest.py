"""The authority on real parts: PostgreSQL under its own role, and a SoftHSM2 token."""

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm.pkcs11.authority import AuthorityToken
from hsm.power import Power
from hsm.uri import Pkcs11Uri
from service.config import Settings
from service.domain.secrets import Secret
from service.runtime.accounts import myself
from tests.integration.hsm.tokens import set_up
from tests.support.attacker import Attacker
from tests.support.authority import SETUP_TOKEN, House, house_on
from tests.support.authority_process import Installation, api_in_thread, authority_process
from tests.support.servers import SoftHsm, short_folder, url_of_role


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


@pytest.fixture
def attacker(ready: House) -> Attacker:
    return Attacker(ready)


@pytest.fixture
def installation(fresh_postgres_url: str, softhsm: SoftHsm) -> Iterator[Installation]:
    with short_folder(myself()) as home:
        config = home / "token"
        config.mkdir(mode=0o700)
        set_up(softhsm.module, softhsm.configuration, config, Power.AUTHORITY, f"authority-process-{home.name}")
        query = (("module-path", str(softhsm.module)), ("pin-source", f"file:{config / 'pin'}"))
        uri = str(Pkcs11Uri((("token", f"authority-process-{home.name}"),), query))
        (home / "public").mkdir()
        (home / "setup-token.sha256").write_text(hashlib.sha256(SETUP_TOKEN.encode()).hexdigest())
        settings = Settings(
            process="api",
            home=home,
            database_url=Secret(url_of_role(fresh_postgres_url, "portcullis_api")),
            authority_socket=home / "a.sock",
            token=None,
        )
        found = Installation(home, fresh_postgres_url, settings)
        role_url = url_of_role(fresh_postgres_url, "portcullis_authority")
        with authority_process(home, role_url, uri, softhsm.configuration), api_in_thread(settings, found.heard) as url:
            found.api_url = url
            yield found
