"""The custodian for tests refuses to be anything else, and behaves as the token does."""

import pytest

from hsm.custodian import KeyCustodian, KeyRef, StatementSigner
from hsm.errors import HsmInputError
from hsm.keypath import DerivationPath
from hsm.software import ACKNOWLEDGEMENT, SoftwareCustodian
from tests.unit.hsm.custodian_contract import check_contract


def test_it_must_be_asked_for_in_words() -> None:
    for words in ("", "yes", "production"):
        with pytest.raises(HsmInputError, match="for tests"):
            SoftwareCustodian(words)


def test_it_keeps_the_custodian_contract() -> None:
    custodian: KeyCustodian = SoftwareCustodian(ACKNOWLEDGEMENT)
    check_contract(custodian, "contract")


def test_it_signs_statements() -> None:
    signer: StatementSigner = SoftwareCustodian(ACKNOWLEDGEMENT)
    signer.verify_statement(b"text", signer.sign_statement(b"text"))


@pytest.mark.parametrize("wallet_id", ["", "A", "-a", "a" * 65, "a/b", "a b", "ä"])
def test_wallet_ids_are_plain(wallet_id: str) -> None:
    with pytest.raises(HsmInputError) as refused:
        KeyRef(wallet_id, DerivationPath())
    assert refused.value.field == "wallet_id"
