"""The parts of `portcullis hsm` that need no token; the others run in tests/integration/hsm/test_provision.py."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from hsm.cli import app
from hsm.pkcs11.pin import PinRecord
from hsm.rotation import TRANSITIONS

RUNNER = CliRunner()


def test_the_plan_lists_every_step_and_its_quorum() -> None:
    done = RUNNER.invoke(app, ["rotate", "--plan", "--account", "m/84h/0h/0h", "--json"])
    assert done.exit_code == 0, done.output
    plan = json.loads(done.stdout)
    assert (plan["old"], plan["new"], plan["new_seed"]) == ("m/84h/0h/0h", "m/84h/0h/1h", False)
    assert [step["quorum"] for step in plan["steps"]] == [step.quorum for step in TRANSITIONS]
    assert "tell payers" in plan["beside"]


def test_the_plan_for_people_names_both_accounts() -> None:
    done = RUNNER.invoke(app, ["rotate", "--plan", "--account", "m/44h/60h/0h", "--lost", "seed"])
    assert done.exit_code == 0
    assert "new seed" in done.stdout
    assert "tell payers" in done.stdout


def test_without_plan_nothing_is_carried_out() -> None:
    done = RUNNER.invoke(app, ["rotate", "--account", "m/84h/0h/0h"])
    assert done.exit_code == 2
    assert "--plan" in done.output


@pytest.mark.parametrize("account", ["m/84h/0h/0", "84h/0h/0h", "m/84h/0h/0h/0/0"])
def test_a_path_that_is_no_account_is_refused(account: str) -> None:
    done = RUNNER.invoke(app, ["rotate", "--plan", "--account", account])
    assert done.exit_code == 1
    assert "hsm_derivation" in done.output


def test_one_uri_is_for_one_token() -> None:
    done = RUNNER.invoke(app, ["doctor", "--uri", "pkcs11:token=a"])
    assert done.exit_code == 2
    assert "--power" in done.output


def test_pin_clear_asks_first_and_follows_the_uri_of_the_environment(tmp_path: Path) -> None:
    record = PinRecord(tmp_path, "mine")
    record.refuse()
    environment = {"PORTCULLIS_VAULT_URI": f"pkcs11:token=mine?module-path=/m.so&pin-source=file:{tmp_path}/pin"}
    arguments = ["pin-clear", "--power", "vault"]
    assert RUNNER.invoke(app, arguments, input="n\n", env=environment).exit_code == 1
    assert record.refused_file.exists()
    assert RUNNER.invoke(app, arguments, input="y\n", env=environment).exit_code == 0
    assert not record.refused_file.exists()


@pytest.mark.parametrize("command", ["init", "doctor", "rotate", "pin-clear"])
def test_every_command_explains_itself_with_an_example(command: str) -> None:
    shown = RUNNER.invoke(app, [command, "--help"])
    assert shown.exit_code == 0
    assert f"portcullis hsm {command}" in shown.stdout
