"""A new ballot key beside the former one: nothing sealed is lost, and nothing is kept longer than somebody decides."""

import PyKCS11
import pytest

from hsm.errors import SealError, TokenLayoutError
from hsm.pkcs11.authority import AuthorityToken
from hsm.pkcs11.checks import Outcome, examine
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.layout import FORMER_UNSEAL_KEY, UNSEAL_KEY
from hsm.pkcs11.provision import provision
from hsm.pkcs11.renewal import renew_ballot_key, retire_former_key
from hsm.pkcs11.session import Token
from hsm.power import Power
from hsm.sealing import seal
from tests.integration.hsm.conftest import MakeToken

USE = b"a ballot"


def opened(config: TokenConfig, *envelopes: bytes) -> list[bytes]:
    token = AuthorityToken.open(config)
    try:
        return [token.secrets.unseal(envelope, USE) for envelope in envelopes]
    finally:
        token.close()


def sealed(config: TokenConfig, plain: bytes) -> bytes:
    token = AuthorityToken.open(config)
    try:
        return seal(token.secrets.public_key_pem(), plain, USE)
    finally:
        token.close()


def votes_key(config: TokenConfig) -> bytes:
    token = AuthorityToken.open(config)
    try:
        return token.vote_public_key_pem()
    finally:
        token.close()


def test_the_former_key_opens_until_it_is_retired(make_token: MakeToken) -> None:
    config = make_token(Power.AUTHORITY, "test-renewal")
    before = sealed(config, b"before")
    renew_ballot_key(config)
    after = sealed(config, b"after")
    assert opened(config, before, after) == [b"before", b"after"]
    with pytest.raises(TokenLayoutError, match="ballots-retire"):
        renew_ballot_key(config)
    assert provision(config, Power.AUTHORITY, lambda: pytest.fail("nothing is to be made")).generated == ()
    assert {check.outcome for check in examine(config, Power.AUTHORITY)} <= {Outcome.OK, Outcome.WARN}
    assert retire_former_key(config)
    assert not retire_former_key(config)
    assert opened(config, after) == [b"after"]
    with pytest.raises(SealError, match="does not open with this token"):
        opened(config, before)
    renew_ballot_key(config)
    assert opened(config, after) == [b"after"]


def test_votes_stay_signed_by_the_same_key(make_token: MakeToken) -> None:
    config = make_token(Power.AUTHORITY, "test-renewal-votes")
    before = votes_key(config)
    renew_ballot_key(config)
    assert votes_key(config) == before


@pytest.mark.parametrize("sorts", [(PyKCS11.CKO_PUBLIC_KEY,), (PyKCS11.CKO_PUBLIC_KEY, PyKCS11.CKO_PRIVATE_KEY)])
def test_a_renewal_that_died_is_finished_and_loses_no_key(make_token: MakeToken, sorts: tuple[int, ...]) -> None:
    config = make_token(Power.AUTHORITY, f"test-renewal-died-{len(sorts)}")
    before = sealed(config, b"before")
    token = Token.open(config)
    with token.exclusive() as session:
        for sort in sorts:
            session.write(session.one(UNSEAL_KEY, sort), [(PyKCS11.CKA_LABEL, FORMER_UNSEAL_KEY)])
    token.close()
    renew_ballot_key(config)
    assert opened(config, before, sealed(config, b"after")) == [b"before", b"after"]


def test_another_powers_token_is_refused(make_token: MakeToken) -> None:
    config = make_token(Power.GATE, "test-renewal-gate")
    for work in (renew_ballot_key, retire_former_key):
        with pytest.raises(TokenLayoutError, match="belongs to the power 'gate'"):
            work(config)
