"""A token that is full, and two tokens of one name: clear errors, and nothing half-done."""

from typing import Any

import PyKCS11
import pytest

from hsm.custodian import KeyRef
from hsm.errors import HsmError, TokenFullError, TokenNotFoundError
from hsm.keypath import DerivationPath
from hsm.pkcs11.custodian import TokenCustodian
from hsm.pkcs11.module import load_module, padded
from hsm.pkcs11.session import Token
from hsm.power import Power
from tests.integration.hsm.conftest import MakeToken
from tests.integration.hsm.tokens import OFFICER_PIN, in_process
from tests.support.servers import SoftHsm

PATH = DerivationPath.account(84, 0, 0).leaf(0, 0)
FULL_DISK = """
import resource
from hsm.custodian import KeyRef
from hsm.keypath import DerivationPath
from hsm.pkcs11.custodian import TokenCustodian
custodian = TokenCustodian.open(config)
sealed = custodian.create_wallet("full")
path = DerivationPath.parse("m/84h/0h/0h/0/0")
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
refused = ""
try:
    custodian.leaf(sealed, "full", path)
except Exception as failure:
    refused = type(failure).__name__
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
after = custodian.exists(KeyRef("full", path))
leaf = custodian.leaf(sealed, "full", path)
custodian.sign(leaf.ref, bytes(32))
return [refused, after]
"""


class Full:
    """A session whose token has no room for an object that stays."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def __getattr__(self, name: str) -> Any:
        if name not in ("createObject", "unwrapKey"):
            return getattr(self._raw, name)

        def put(*args: Any) -> Any:
            template = next(arg for arg in args if isinstance(arg, list))
            if (PyKCS11.CKA_TOKEN, True) in template:
                raise PyKCS11.PyKCS11Error(PyKCS11.CKR_DEVICE_MEMORY)
            return getattr(self._raw, name)(*args)

        return put


def test_a_full_token_is_said_to_be_full_and_keeps_nothing_half(vault: TokenCustodian) -> None:
    sealed = vault.create_wallet("device-memory")
    with vault._token.session() as session:
        raw = session._raw
        session._raw = Full(raw)
        before = len(raw.findObjects([]))
        try:
            for put in (
                lambda: vault.leaf(sealed, "device-memory", PATH),
                lambda: vault.keep_wallet("device-memory", sealed),
                lambda: vault.disable(KeyRef("device-memory", PATH)),
            ):
                with pytest.raises(TokenFullError, match="the token is full: destroy keys"):
                    put()
            assert len(vault.prove(sealed, "device-memory", [PATH], bytes(32))) == 1, (
                "what passes through needs no room"
            )
        finally:
            session._raw = raw
        assert len(raw.findObjects([])) == before
    assert vault.kept_wallet("device-memory") is None
    vault.sign(vault.leaf(sealed, "device-memory", PATH).ref, bytes(32))


def test_a_full_disk_under_softhsm_leaves_nothing_that_stands_in_the_way(make_token: MakeToken) -> None:
    answer = in_process(make_token(Power.VAULT, "test-full-disk"), FULL_DISK)
    assert answer.error is None, answer.message
    assert isinstance(answer.value, list)
    assert answer.value[0].endswith("Error"), "the write was refused and the caller told"


def test_two_tokens_of_one_label_are_refused_before_a_pin_is_given(softhsm: SoftHsm, make_token: MakeToken) -> None:
    config = make_token(Power.VAULT, "test-twins")
    module = load_module(softhsm.module, softhsm.configuration)
    blank = next(token.slot for token in module.tokens() if not token.has(PyKCS11.CKF_TOKEN_INITIALIZED))
    module.lib.initToken(blank, OFFICER_PIN, padded("test-twins"))
    asked: list[str] = []

    def pin() -> str:
        asked.append("pin")
        return "never"

    with pytest.raises(TokenNotFoundError, match=r"2 tokens are labelled test-twins.*its own label"):
        Token.open(type(config)(config.module, config.label, config.state_dir, pin, config.softhsm_conf))
    assert asked == []
    with pytest.raises(HsmError):
        TokenCustodian.open(config)
