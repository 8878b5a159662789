"""A ceremony on real tokens, each in a process of its own: witnessed, signed, and restored into a fresh token."""

import base64
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyotp
import pytest
from typer.testing import CliRunner

from hsm.ceremony import offices
from hsm.ceremony.cli import app
from hsm.ceremony.journal import Journal
from hsm.ceremony.offices import TokenVault, TokenWitnesses
from hsm.ceremony.plan import read_plan
from hsm.ceremony.run import Ceremony
from hsm.custodian import SealedSeed
from hsm.errors import CeremonyError, HsmInputError, SealError
from hsm.keypath import DerivationPath
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.custodian import TokenCustodian
from hsm.pkcs11.witnesses import MAX_TRIES
from hsm.power import Power
from hsm.totp import SEED_BYTES
from tests.integration.hsm.conftest import MakeToken
from tests.integration.hsm.tokens import uri_of, write_private
from tests.support.ceremony import AT, PLAN, Script, plan_text

PERIOD_S = 30
SEEDS = {"first-officer": b"1" * SEED_BYTES, "second-officer": b"2" * SEED_BYTES}


class Officers(TokenWitnesses):
    """The real office at a time that the test says."""

    at_s = AT.timestamp()

    def confirm(self, name: str, code: str) -> None:
        self._ask(offices._confirm, self._uri, name, code, self.at_s)

    def check(self, name: str, code: str) -> int:
        return self._ask(offices._use, self._uri, name, code, self.at_s)

    def code(self, name: str) -> str:
        return pyotp.TOTP(base64.b32encode(SEEDS[name]).decode()).at(int(self.at_s))


@dataclass
class Room(Script):
    """People with phones: time passes before every code."""

    officers: Officers | None = None

    def code(self, witness: str, why: str) -> str:
        assert self.officers is not None
        super().code(witness, why)
        self.officers.at_s += PERIOD_S
        return self.codes.pop(0) if self.codes else self.officers.code(witness)


@pytest.fixture(scope="module")
def officers(make_token: MakeToken) -> Iterator[Officers]:
    office = Officers(uri_of(make_token(Power.AUTHORITY, "ceremony-authority")))
    for name, seed in SEEDS.items():
        office.begin(name, seed)
        office.confirm(name, office.code(name))
    yield office
    office.close()


@pytest.fixture(scope="module")
def vault_config(make_token: MakeToken) -> TokenConfig:
    return make_token(Power.VAULT, "ceremony-vault")


@pytest.fixture(scope="module")
def office(vault_config: TokenConfig) -> Iterator[TokenVault]:
    found = TokenVault(uri_of(vault_config))
    yield found
    found.close()


def hold(text: str, vault: TokenVault, officers: Officers, people: Room, folder: Path) -> Ceremony:
    plan = read_plan(text)
    return Ceremony(plan, vault, officers, people, Journal(folder, plan.ceremony), lambda: AT)


def test_a_seed_is_drawn_backed_up_and_restored_into_a_fresh_token(
    office: TokenVault, officers: Officers, vault_config: TokenConfig, make_token: MakeToken, tmp_path: Path
) -> None:
    people = Room(officers=officers)
    ceremony = hold(PLAN, office, officers, people, tmp_path)
    transcript = ceremony.run()
    said = transcript.verified(officers.public_key_pem())
    assert (said["vault"]["label"], said["authority"]["label"]) == ("ceremony-vault", "ceremony-authority")
    custodian = TokenCustodian.open(vault_config)
    sealed = custodian.create_wallet("treasury")
    assert not sealed.restored, "the service's wallet is the ceremony's seed"
    for account in said["accounts"][:2]:
        path = DerivationPath.parse(account["path"])
        assert custodian.open_account(sealed, "treasury", path).xpub == account["xpub"]
    with pytest.raises(HsmInputError, match="earlier ceremony"):
        custodian.keep_wallet("treasury", custodian.restore_wallet("treasury", bytes(32)))
    with pytest.raises(SealError):
        custodian.keep_wallet("other", SealedSeed(sealed.envelope))
    fresh = TokenVault(uri_of(make_token(Power.VAULT, "ceremony-fresh")))
    people.typed = [*people.shares[1:], ""]
    text = plan_text(ceremony="ceremony: restore", seed="seed: shares", backup="")
    again = hold(text, fresh, officers, people, tmp_path).run().verified(officers.public_key_pem())
    kept = fresh.kept("treasury")
    fresh.close()
    assert again["accounts"] == said["accounts"]
    assert again["vault"]["serial"] != said["vault"]["serial"]
    assert kept is not None
    assert kept.restored
    result = CliRunner().invoke(app, ["verify", str(ceremony.journal.transcript_file)])
    assert (result.exit_code, '"treasury"' in result.output) == (0, True)
    pinned = tmp_path / "other.pem"
    pinned.write_bytes(custodian.statements.statement_public_key_pem())
    custodian.close()
    assert (
        CliRunner().invoke(app, ["verify", str(ceremony.journal.transcript_file), "--key", str(pinned)]).exit_code == 1
    )


def test_a_code_counts_once_and_wrong_ones_lock_in_the_token(officers: Officers) -> None:
    officers.at_s += PERIOD_S
    code = officers.code("first-officer")
    officers.check("first-officer", code)
    with pytest.raises(CeremonyError, match="used before"):
        officers.check("first-officer", code)
    officers.begin("clerk", b"3" * SEED_BYTES)
    assert not officers.is_enrolled("clerk")
    with pytest.raises(CeremonyError, match="is wrong"):
        officers.confirm("clerk", "000000x")
    SEEDS["clerk"] = b"3" * SEED_BYTES
    officers.confirm("clerk", officers.code("clerk"))
    with pytest.raises(CeremonyError, match="enrolled already"):
        officers.begin("clerk", b"4" * SEED_BYTES)
    for left in range(MAX_TRIES - 1, -1, -1):
        with pytest.raises(CeremonyError, match=f"{left} tries are left"):
            officers.check("clerk", "x")
    officers.at_s += PERIOD_S
    with pytest.raises(CeremonyError, match="5 wrong codes"):
        officers.check("clerk", officers.code("clerk"))
    officers.remove("clerk")
    officers.remove("clerk")
    assert not officers.is_enrolled("clerk")
    with pytest.raises(CeremonyError, match="not enrolled"):
        officers.check("clerk", "000000")


def contents(*folders: Path) -> dict[str, bytes]:
    """Every file but locks and what SoftHSM writes at each login (`token.object`, which holds no key)."""
    return {
        str(path): path.read_bytes()
        for folder in folders
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.suffix != ".lock" and path.name != "token.object"
    }


def test_a_dry_run_changes_no_object_of_a_token(
    office: TokenVault, officers: Officers, vault_config: TokenConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert vault_config.softhsm_conf is not None
    file = tmp_path / "plan.yaml"
    file.write_text(plan_text(ceremony="ceremony: dry", wallet="wallet: dry"))
    monkeypatch.setenv("PORTCULLIS_VAULT_URI", office._uri)
    monkeypatch.setenv("PORTCULLIS_AUTHORITY_URI", officers._uri)
    home = tmp_path / "home"
    watched = (vault_config.softhsm_conf.parent, vault_config.state_dir)
    before = contents(*watched)
    result = CliRunner().invoke(app, ["run", str(file), "--home", str(home), "--dry-run"])
    assert (result.exit_code, "nothing was changed" in result.output) == (0, True), result.output
    assert contents(*watched) == before
    assert not home.exists()
    refused = CliRunner().invoke(app, ["run", str(file), "--home", str(home)])
    assert refused.exit_code == 2, "shares are not shown in a pipe"
    assert CliRunner().invoke(app, ["plan", str(file)]).output.count("plan digest") == 1
    for wrong in (["plan", str(tmp_path / "none.yaml")], ["verify", str(file)], ["run", str(tmp_path), "--dry-run"]):
        assert CliRunner().invoke(app, [*wrong, *(["--home", str(home)] if wrong[0] == "run" else [])]).exit_code == 1


def test_a_wrong_pin_is_tried_once_by_a_ceremony_and_nothing_is_begun(
    make_token: MakeToken, officers: Officers, tmp_path: Path
) -> None:
    config = make_token(Power.VAULT, "ceremony-pin")
    write_private(config.state_dir / "pin", "wrong-pin")
    refused = 0
    for _ in range(3):
        vault = TokenVault(uri_of(config))
        with pytest.raises(Exception, match="hsm pin-clear") as failure:
            hold(plan_text(ceremony="ceremony: pin"), vault, officers, Room(officers=officers), tmp_path).run()
        refused += "CKR_PIN_INCORRECT" in str(failure.value)
        vault.close()
    assert refused == 1, "the token was asked once; after that the record alone refuses"
    assert list(tmp_path.iterdir()) == []
    assert json.loads((config.state_dir / "ceremony-pin.user-pin-refused.json").read_text())["token"] == "ceremony-pin"
