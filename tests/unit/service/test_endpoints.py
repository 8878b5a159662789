"""Endpoints of chains and of Safe transaction services as the environment names them; a wrong one is told by its place."""

import pytest

from service.config import read_settings
from service.domain.errors import ConfigurationError

BASE = {
    "PORTCULLIS_HOME": "/srv/portcullis",
    "PORTCULLIS_PROCESS": "keys",
    "PORTCULLIS_DATABASE_URL": "postgresql://keys@localhost/portcullis",
}


def test_each_chain_has_its_endpoint_and_its_safe_service_and_neither_is_shown() -> None:
    told = {
        "PORTCULLIS_CHAINS": "eip155:1=https://node.example/KEY, eip155:10=http://127.0.0.1:1",
        "PORTCULLIS_SAFE_SERVICES": "eip155:1=https://safes.example/KEY",
    }
    found = read_settings(BASE | told)
    assert found.chains == {"eip155:1": "https://node.example/KEY", "eip155:10": "http://127.0.0.1:1"}
    assert found.safe_services == {"eip155:1": "https://safes.example/KEY"}
    assert "KEY" not in repr(found)
    assert read_settings(BASE).safe_services == {}


@pytest.mark.parametrize("name", ["CHAINS", "SAFE_SERVICES"])
@pytest.mark.parametrize("wrong", ["eip155:1", "eip155:1=ftp://x", "1=https://x", "eip155:1=https://x,nonsense"])
def test_a_wrong_entry_is_told_by_variable_and_place(name: str, wrong: str) -> None:
    with pytest.raises(ConfigurationError, match=f"PORTCULLIS_{name}: entry [12]"):
        read_settings(BASE | {f"PORTCULLIS_{name}": wrong})


def test_what_is_final_is_told_by_tag_or_depth() -> None:
    found = read_settings(BASE | {"PORTCULLIS_FINALITY": "eip155:1=finalized, eip155:10=safe,eip155:56=20"})
    assert found.finality == {"eip155:1": "finalized", "eip155:10": "safe", "eip155:56": 20}
    assert read_settings(BASE).finality == {}


@pytest.mark.parametrize("wrong", ["eip155:1", "eip155:1=latest", "eip155:1=0", "eip155:1=10001", "bip122:x=6"])
def test_a_finality_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(ConfigurationError, match="PORTCULLIS_FINALITY"):
        read_settings(BASE | {"PORTCULLIS_FINALITY": wrong})
