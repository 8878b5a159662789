"""Setting tokens up: repeatable, resumable, and careful with tokens of other versions."""

import json
import subprocess
import sys
import zlib
from pathlib import Path

import PyKCS11
import pytest

from hsm.derivation import evm_address
from hsm.errors import TokenLayoutError
from hsm.pkcs11.authority import AuthorityToken
from hsm.pkcs11.checks import NEEDED, Outcome, examine
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.guardian import GuardianToken
from hsm.pkcs11.keys import public_pem
from hsm.pkcs11.layout import KEYS, LAYOUT_LABEL, LAYOUT_VERSION, UNSEAL_KEY, VOTE_KEY, require_layout
from hsm.pkcs11.module import load_module, padded
from hsm.pkcs11.pin import PinRecord
from hsm.pkcs11.provision import provision
from hsm.pkcs11.session import Token
from hsm.power import Power
from hsm.sealing import seal
from hsm.softhsm import SoftHsmFolder
from tests.integration.hsm.conftest import MakeToken
from tests.integration.hsm.tokens import OFFICER_PIN, USER_PIN, configure, in_process, write_private
from tests.support.servers import SoftHsm

CLI = "from hsm.cli import app\nif __name__ == '__main__':\n    app()\n"


def officer() -> str:
    return OFFICER_PIN


def set_mark(config: TokenConfig, body: bytes) -> None:
    token = Token.open(config)
    with token.session() as session:
        for old in session.find(LAYOUT_LABEL, PyKCS11.CKO_DATA):
            session.destroy(old)
        session.create(
            [
                (PyKCS11.CKA_CLASS, PyKCS11.CKO_DATA),
                (PyKCS11.CKA_TOKEN, True),
                (PyKCS11.CKA_LABEL, LAYOUT_LABEL),
                (PyKCS11.CKA_VALUE, body),
            ]
        )
    token.close()


def test_repeating_changes_nothing(make_token: MakeToken) -> None:
    config = make_token(Power.AUTHORITY, "test-repeat")
    again = provision(config, Power.AUTHORITY, lambda: pytest.fail("the officer's PIN was asked for"))
    assert (again.initialised, again.generated) == (False, ())


def test_the_guardian_s_address_is_told_and_no_other_power_has_one(make_token: MakeToken) -> None:
    config = make_token(Power.GUARDIAN, "test-guardian-address")
    again = provision(config, Power.GUARDIAN, lambda: pytest.fail("the officer's PIN was asked for"))
    token = GuardianToken.open(config)
    assert again.address == evm_address(token.public_key()).lower()
    token.close()
    assert provision(make_token(Power.GATE, "test-no-address"), Power.GATE, officer).address is None


def test_a_set_up_that_died_is_finished(softhsm: SoftHsm, tmp_path: Path) -> None:
    write_private(tmp_path / "pin", USER_PIN)
    config = configure(softhsm.module, softhsm.configuration, tmp_path, "test-resumed")
    module = load_module(softhsm.module, softhsm.configuration)
    blank = next(token.slot for token in module.tokens() if not token.has(PyKCS11.CKF_TOKEN_INITIALIZED))
    module.lib.initToken(blank, OFFICER_PIN, padded(config.label))
    with pytest.raises(TokenLayoutError, match="no user PIN yet"):
        Token.open(config)
    done = provision(config, Power.AUTHORITY, officer)
    assert done.generated == tuple(spec.label for spec in KEYS[Power.AUTHORITY])
    token = Token.open(config)
    with token.session() as session:
        for lost in session.find("audit-checkpoint", PyKCS11.CKO_PRIVATE_KEY) + session.find(
            LAYOUT_LABEL, PyKCS11.CKO_DATA
        ):
            session.destroy(lost)
        with pytest.raises(TokenLayoutError, match="unfinished"):
            require_layout(session, Power.AUTHORITY)
    token.close()
    assert provision(config, Power.AUTHORITY, officer).generated == ("audit-checkpoint",)


@pytest.mark.parametrize(
    ("mark", "why"),
    [
        ({"version": LAYOUT_VERSION - 1, "power": "authority"}, "--upgrade"),
        ({"version": LAYOUT_VERSION + 1, "power": "authority"}, "upgrade Portcullis"),
        ({"version": LAYOUT_VERSION, "power": "gate"}, "check the PKCS#11 URI"),
        ({"version": "1"}, "backup"),
        (None, "backup"),
    ],
)
def test_a_token_of_another_version_says_what_to_do(make_token: MakeToken, mark: object, why: str) -> None:
    config = make_token(Power.AUTHORITY, f"test-mark-{zlib.crc32(str(mark).encode()):08x}")
    set_mark(config, json.dumps(mark).encode())
    with pytest.raises(TokenLayoutError, match=why):
        provision(config, Power.AUTHORITY, officer)


def test_an_older_layout_is_upgraded_when_asked(make_token: MakeToken) -> None:
    """Layout 1 had no key that opens ballots; what the token held stays as it was."""
    config = make_token(Power.AUTHORITY, "test-older")
    set_mark(config, json.dumps({"version": LAYOUT_VERSION - 1, "power": "authority"}).encode())
    token = Token.open(config)
    with token.exclusive() as session:
        before = public_pem(session, VOTE_KEY)
        for lost in session.find(UNSEAL_KEY, PyKCS11.CKO_PRIVATE_KEY) + session.find(
            UNSEAL_KEY, PyKCS11.CKO_PUBLIC_KEY
        ):
            session.destroy(lost)
    token.close()
    with pytest.raises(TokenLayoutError, match="hsm init --power authority --upgrade"):
        AuthorityToken.open(config)
    assert provision(config, Power.AUTHORITY, officer, upgrade=True).generated == (UNSEAL_KEY,)
    upgraded = AuthorityToken.open(config)
    assert upgraded.vote_public_key_pem() == before
    assert upgraded.secrets.unseal(seal(upgraded.secrets.public_key_pem(), b"code", b"use"), b"use") == b"code"
    upgraded.close()
    token = Token.open(config)
    with token.session() as session:
        require_layout(session, Power.AUTHORITY)
    token.close()


def test_checks_are_green_on_a_good_token(make_token: MakeToken) -> None:
    checks = examine(make_token(Power.VAULT, "test-examined"), Power.VAULT)
    assert [check.name for check in checks] == [
        "module", "token", "pin record", "login", "mechanisms", "secp256k1", "layout",
    ]  # fmt: skip
    assert all(check.outcome is Outcome.OK for check in checks), checks
    assert "SoftHSM" in checks[0].seen
    assert "firmware" in checks[1].seen


def test_checks_say_what_is_wrong(make_token: MakeToken, tmp_path: Path) -> None:
    config = make_token(Power.AUTHORITY, "test-wrong")
    assert examine(config, Power.GATE)[-1].outcome is Outcome.FAIL
    PinRecord(config.state_dir, config.label).refuse()
    last = examine(config, Power.AUTHORITY)[-1]
    assert (last.name, last.outcome) == ("pin record", Outcome.FAIL)
    assert "pin-clear" in last.advice
    absent = TokenConfig(config.module, "nobody", tmp_path, config.pin, config.softhsm_conf)
    assert examine(absent, Power.AUTHORITY)[-1].name == "token"


def run_cli(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    program = folder / "run.py"
    program.write_text(CLI)
    return subprocess.run(
        [sys.executable, str(program), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
        cwd=Path(__file__).parents[3],
        env={"PATH": "/usr/bin:/bin", "COLUMNS": "200"},
    )


def test_the_command_line_sets_up_examines_and_clears(softhsm: SoftHsm, tmp_path: Path) -> None:
    common = ("--home", str(tmp_path), "--power", "authority")
    first = run_cli(tmp_path, "init", *common)
    assert first.returncode == 0, first.stderr
    assert "vote-signing" in first.stdout
    assert "it was complete" in run_cli(tmp_path, "init", *common).stdout
    healthy = run_cli(tmp_path, "doctor", *common, "--json")
    assert healthy.returncode == 0, healthy.stderr
    assert {check["outcome"] for check in json.loads(healthy.stdout)["authority"]} == {"ok"}
    folder = SoftHsmFolder(Power.AUTHORITY, tmp_path / "tokens" / "authority", softhsm.module)
    pin = folder.pin_file.read_text().strip()
    folder.pin_file.write_text("wrong-pin")
    ill = run_cli(tmp_path, "doctor", *common)
    assert ill.returncode == 1
    assert "hsm_pin_refused" in ill.stdout
    folder.pin_file.write_text(pin)
    assert run_cli(tmp_path, "doctor", *common).returncode == 1
    assert "cleared" in run_cli(tmp_path, "pin-clear", *common, "--yes").stdout
    assert run_cli(tmp_path, "doctor", *common).returncode == 0
    assert pin not in first.stdout + first.stderr + ill.stdout + ill.stderr
    home = ("--home", str(tmp_path), "--yes")
    assert "Remove public/authority-ballots.pem" in " ".join(run_cli(tmp_path, "ballots-renew", *home).stdout.split())
    twice = run_cli(tmp_path, "ballots-renew", *home)
    assert twice.returncode == 1
    assert "ballots-retire" in twice.stderr
    told = [run_cli(tmp_path, "ballots-retire", *home).stdout.strip() for _ in range(2)]
    assert told == ["retired", "there was no former ballot key"]
    assert run_cli(tmp_path, "doctor", *common).returncode == 0


@pytest.mark.parametrize("missing", ["CKM_EC_KEY_PAIR_GEN", "CKM_AES_GCM", "CKM_AES_KEY_WRAP_PAD"])
def test_a_module_without_a_needed_mechanism_is_named(softhsm: SoftHsm, tmp_path: Path, missing: str) -> None:
    (tmp_path / "tokens").mkdir()
    offered = ",".join(name for name in NEEDED[Power.VAULT] if name != missing)
    conf = write_private(tmp_path / "conf", f"directories.tokendir = {tmp_path}/tokens\nslots.mechanisms = {offered}\n")
    write_private(tmp_path / "pin", USER_PIN)
    config = configure(softhsm.module, conf, tmp_path, "test-poor")
    body = f"""
from hsm.pkcs11.checks import examine
from hsm.pkcs11.provision import provision
from hsm.power import Power
from hsm.errors import MechanismMissingError
try:
    provision(config, Power.VAULT, lambda: "{OFFICER_PIN}")
except MechanismMissingError:
    pass
return [(check.name, check.outcome, check.advice) for check in examine(config, Power.VAULT)]
"""
    answer = in_process(config, body)
    assert isinstance(answer.value, list), answer.message
    found = {name: (outcome, advice) for name, outcome, advice in answer.value}
    outcome, advice = found["mechanisms"]
    assert outcome == "fail"
    assert missing in advice
