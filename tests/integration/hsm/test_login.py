"""Logging in: refused PINs stay refused, processes take turns, a fork does not inherit a token."""

from dataclasses import replace
from pathlib import Path

import PyKCS11
import pytest

from hsm.errors import (
    ModuleInUseError,
    ModuleMissingError,
    PinLockedError,
    PinRefusedError,
    TokenNotFoundError,
    TokenUnavailableError,
)
from hsm.p256 import verify
from hsm.pkcs11 import session as session_module
from hsm.pkcs11.authority import AuthorityToken
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.module import load_module
from hsm.pkcs11.pin import PinRecord
from hsm.pkcs11.session import Token
from hsm.power import Power
from tests.integration.hsm.conftest import MakeToken
from tests.integration.hsm.tokens import answer_of, in_process, start_process, write_private
from tests.support.servers import SoftHsm

OPEN = """
from hsm.pkcs11.session import Token
Token.open(config).close()
return "in"
"""
COUNT_LOW = """
import PyKCS11
from hsm.pkcs11.module import load_module
return load_module(config.module, config.softhsm_conf).token(config.label).has(PyKCS11.CKF_USER_PIN_COUNT_LOW)
"""


def test_a_wrong_pin_is_tried_once_and_never_again(make_token: MakeToken) -> None:
    config = make_token(Power.AUTHORITY, "test-refused")
    pin = config.pin()
    write_private(config.state_dir / "pin", "wrong-pin")
    first = in_process(config, OPEN)
    assert (first.error, "CKR_PIN_INCORRECT" in first.message) == ("hsm_pin_refused", True)
    assert "wrong-pin" not in first.message
    assert in_process(config, COUNT_LOW).value is True
    write_private(config.state_dir / "pin", pin)
    again = in_process(config, OPEN)
    assert again.error == "hsm_pin_refused"
    assert "pin-clear" in again.message
    assert in_process(config, COUNT_LOW).value is True, "a login reached the token although the refusal is on record"
    assert PinRecord(config.state_dir, config.label).clear()
    assert in_process(config, OPEN).value == "in"
    assert in_process(config, COUNT_LOW).value is False


def test_a_refusal_stops_before_the_module_is_even_loaded(tmp_path: Path) -> None:
    PinRecord(tmp_path, "any").refuse()
    config = TokenConfig(Path("/does/not/exist.so"), "any", tmp_path, lambda: pytest.fail("the PIN was asked for"))
    with pytest.raises(PinRefusedError):
        Token.open(config)


def test_a_login_that_died_unanswered_is_settled_by_asking_the_token(make_token: MakeToken) -> None:
    config = make_token(Power.AUTHORITY, "test-died")
    record = PinRecord(config.state_dir, config.label)
    record.arm()
    assert in_process(config, OPEN).value == "in", "no wrong PIN was entered, so the login is tried"
    assert not record.pending()
    wrong = """
import PyKCS11
from hsm.pkcs11.module import load_module
module = load_module(config.module, config.softhsm_conf)
session = module.lib.openSession(module.token(config.label).slot)
try:
    session.login("wrong-pin")
except PyKCS11.PyKCS11Error as refused:
    return refused.value
"""
    record.arm()
    assert in_process(config, wrong).value == PyKCS11.CKR_PIN_INCORRECT
    assert in_process(config, OPEN).error == "hsm_pin_refused"
    assert record.refused_file.exists()


@pytest.mark.parametrize(
    ("flag", "kind"),
    [(PyKCS11.CKF_USER_PIN_LOCKED, PinLockedError), (PyKCS11.CKF_USER_PIN_FINAL_TRY, PinRefusedError)],
)
def test_a_token_near_its_lock_is_left_alone(tmp_path: Path, softhsm: SoftHsm, flag: int, kind: type) -> None:
    token = load_module(softhsm.module, softhsm.configuration).tokens()[0]
    with pytest.raises(kind):
        session_module._require_safe_to_try(replace(token, flags=flag), PinRecord(tmp_path, "t"))


def test_four_processes_log_in_at_once(make_token: MakeToken) -> None:
    config = make_token(Power.AUTHORITY, "test-crowd")
    for _ in range(2):
        crowd = [start_process(config, OPEN) for _ in range(4)]
        answers = [answer_of(process) for process in crowd]
        assert [answer.value for answer in answers] == ["in"] * 4, answers


def test_a_missing_module_names_the_install_command(tmp_path: Path) -> None:
    answer = in_process(TokenConfig(tmp_path / "no.so", "t", tmp_path, str, tmp_path / "conf"), OPEN)
    assert answer.error == ModuleMissingError.code
    assert "apt-get install softhsm2" in answer.message


def test_a_file_that_is_no_module_says_so(tmp_path: Path) -> None:
    library, conf = write_private(tmp_path / "no.so", "text"), write_private(tmp_path / "conf", "")
    answer = in_process(TokenConfig(library, "t", tmp_path, str, conf), OPEN)
    assert answer.error == ModuleMissingError.code
    assert "not a PKCS#11 module" in answer.message


def test_a_missing_token_names_count_and_advice(softhsm: SoftHsm, tmp_path: Path) -> None:
    module = load_module(softhsm.module, softhsm.configuration)
    with pytest.raises(TokenNotFoundError, match=r"0 tokens are labelled nobody .*hsm init"):
        module.token("nobody")


def test_one_process_opens_one_module(softhsm: SoftHsm, tmp_path: Path) -> None:
    load_module(softhsm.module, softhsm.configuration)
    with pytest.raises(ModuleInUseError, match="already opened"):
        load_module(softhsm.module, tmp_path / "other.conf")


def test_a_fork_does_not_inherit_the_token(make_token: MakeToken) -> None:
    config = make_token(Power.AUTHORITY, "test-fork")
    body = """
import os
from hsm.errors import ModuleInUseError
from hsm.pkcs11.session import Token
token = Token.open(config)
child = os.fork()
if child == 0:
    try:
        with token.session():
            os._exit(1)
    except ModuleInUseError:
        os._exit(42)
return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""
    assert in_process(config, body).value == 42


def test_a_session_the_token_dropped_is_replaced(make_token: MakeToken) -> None:
    token = Token.open(make_token(Power.AUTHORITY, "test-dropped"))
    with token.session() as session:
        session._raw.closeSession()
    with pytest.raises(TokenUnavailableError, match="CKR_SESSION_HANDLE_INVALID"), token.session() as session:
        session.random(8)
    with token.session() as session:
        assert len(session.random(8)) == 8
    token.close()


def test_a_login_the_token_lost_is_made_again(make_token: MakeToken) -> None:
    token = AuthorityToken.open(make_token(Power.AUTHORITY, "test-reset"))
    signature = token.sign_vote(b"before")
    token._token._module.lib.closeAllSessions(token._token.info.slot)
    with pytest.raises(TokenUnavailableError):
        token.sign_vote(b"during")
    verify(token.vote_public_key_pem(), b"before", signature)
    verify(token.vote_public_key_pem(), b"after", token.sign_vote(b"after"))
    token.close()


def test_a_login_the_token_lost_is_not_made_again_after_a_refusal(make_token: MakeToken) -> None:
    config = make_token(Power.AUTHORITY, "test-reset-refused")
    token = Token.open(config)
    with token.session():
        token._module.lib.closeAllSessions(token.info.slot)
    with pytest.raises(TokenUnavailableError), token.session() as session:
        session.random(8)
    PinRecord(config.state_dir, config.label).refuse()
    with pytest.raises(PinRefusedError), token.session():
        pytest.fail("a session was given")
    token.close()


def test_two_tokens_of_one_label_are_an_error_that_counts_them(softhsm: SoftHsm, tmp_path: Path) -> None:
    (tmp_path / "tokens").mkdir()
    conf = write_private(tmp_path / "conf", f"directories.tokendir = {tmp_path}/tokens\n")
    config = TokenConfig(softhsm.module, "twin", tmp_path, str, conf)
    body = """
from hsm.pkcs11.module import load_module, padded
module = load_module(config.module, config.softhsm_conf)
for _ in range(2):
    module.lib.initToken(module.tokens()[-1].slot, "officer", padded("twin"))
from hsm.pkcs11.session import Token
Token.open(config)
"""
    answer = in_process(config, body)
    assert answer.error == TokenNotFoundError.code
    assert "2 tokens are labelled twin" in answer.message
