"""Replacing the key that signs answers to a co-signer, with the service's process running."""

import json

import pytest
from typer.testing import CliRunner

from hsm.cli import app
from hsm.errors import HsmInputError, KeyNotFoundError
from hsm.pkcs11.callback import add_key, list_keys, retire_key
from hsm.pkcs11.gate import GateSigner
from hsm.pkcs11.provision import provision
from hsm.power import Power
from tests.integration.hsm.conftest import MakeToken
from tests.integration.hsm.test_powers import rs256_verifies
from tests.integration.hsm.tokens import OFFICER_PIN, in_process

MESSAGE = b"header.claims"


def test_two_keys_sign_until_the_old_one_is_retired(make_token: MakeToken) -> None:
    config = make_token(Power.GATE, "callback-two")
    gate = GateSigner.open(config)
    first = gate.public_key_pem()
    made = in_process(
        config, "from hsm.pkcs11.callback import add_key\nreturn add_key(config, '2027').public_key_pem.decode()"
    )
    assert made.error is None, made.message
    second = str(made.value).encode()
    assert second != first
    rs256_verifies(first, MESSAGE, gate.sign(MESSAGE))
    rs256_verifies(second, MESSAGE, gate.sign(MESSAGE, "2027"))

    gone = in_process(config, "from hsm.pkcs11.callback import retire_key\nreturn retire_key(config, '').signs")
    assert (gone.value, gone.error) == (False, None)
    with pytest.raises(KeyNotFoundError, match="retired"):
        gate.sign(MESSAGE)
    rs256_verifies(second, MESSAGE, gate.sign(MESSAGE, "2027"))
    assert provision(config, Power.GATE, lambda: OFFICER_PIN).generated == (), "set-up makes no new first key"
    assert [(key.name, key.signs) for key in list_keys(config)] == [("", False), ("2027", True)]
    gate.close()


def test_what_cannot_be_done_is_refused_by_name(make_token: MakeToken) -> None:
    config = make_token(Power.GATE, "callback-refused")
    with pytest.raises(HsmInputError, match="last callback key"):
        retire_key(config, "")
    for wrong in ("UPPER", "-x", "a" * 33, "a/b", "a:b"):
        with pytest.raises(HsmInputError, match="name is 1 to 32"):
            add_key(config, wrong)
    with pytest.raises(HsmInputError, match="already"):
        add_key(config, "")
    with pytest.raises(KeyNotFoundError):
        retire_key(config, "nobody")
    gate = GateSigner.open(config)
    with pytest.raises(KeyNotFoundError):
        gate.sign(MESSAGE, "nobody")
    gate.close()


def test_the_command_line(make_token: MakeToken) -> None:
    config = make_token(Power.GATE, "callback-cli")
    where = f"module-path={config.module}&pin-source=file:{config.state_dir}/pin&x-softhsm-conf={config.softhsm_conf}"
    environment = {"PORTCULLIS_GATE_URI": f"pkcs11:token={config.label}?{where}"}
    runner = CliRunner()
    made = runner.invoke(app, ["callback-key", "add", "2027"], env=environment)
    assert made.exit_code == 0, made.output
    assert "BEGIN PUBLIC KEY" in made.stdout
    assert "/cosigner/CONNECTION/key/2027" in made.output
    assert runner.invoke(app, ["callback-key", "retire", ""], input="n\n", env=environment).exit_code == 1
    assert runner.invoke(app, ["callback-key", "retire", "", "--yes"], env=environment).exit_code == 0
    listed = json.loads(runner.invoke(app, ["callback-key", "list", "--json"], env=environment).stdout)
    assert [(key["name"], key["signs"]) for key in listed] == [("", False), ("2027", True)]
    assert "retired" in runner.invoke(app, ["callback-key", "list"], env=environment).stdout
    refused = runner.invoke(app, ["callback-key", "retire", "2027", "--yes"], env=environment)
    assert refused.exit_code == 1
    assert "hsm_input" in refused.output
