"""The guardian's token in a child of its own, beside a vault token of another folder in this process."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hsm import ecdsa
from hsm.errors import HsmInputError, PinRefusedError, TokenUnavailableError, TokenUriError
from hsm.pkcs11.custodian import TokenCustodian
from hsm.pkcs11.guardian_process import GuardianProcess
from hsm.power import Power
from hsm.softhsm import SoftHsmFolder
from tests.support.servers import SoftHsm

DIGEST = bytes(range(32))


def _init(files: SoftHsmFolder) -> None:
    """Set the token up as `portcullis up` does: this process has another SoftHSM2 open."""
    command = [sys.executable, "-P", "-m", "service.cli", "hsm", "init", "--power", "guardian", "--uri", files.uri]
    subprocess.run([*command, "--so-pin-file", files.so_pin_file], check=True, capture_output=True, timeout=240)


@pytest.fixture
def folder(softhsm: SoftHsm, tmp_path: Path) -> SoftHsmFolder:
    """A SoftHSM2 of the guardian's own, as an installation makes it; set up by a process of its own."""
    files = SoftHsmFolder(Power.GUARDIAN, tmp_path, softhsm.module)
    files.prepare()
    return files


@pytest.fixture
def guardian(folder: SoftHsmFolder) -> Iterator[GuardianProcess]:
    _init(folder)
    found = GuardianProcess(folder.uri, folder.conf)
    yield found
    found.close()


def test_it_signs_while_this_process_has_another_token_open(guardian: GuardianProcess, vault: TokenCustodian) -> None:
    signature = guardian.sign(DIGEST)
    assert ecdsa.verify(signature, DIGEST, guardian.public_key())
    statement = vault.statements.sign_statement(b"both are open")
    vault.statements.verify_statement(b"both are open", statement)


def test_a_child_that_died_is_noticed_and_begun_again(guardian: GuardianProcess) -> None:
    public = guardian.public_key()
    assert guardian._child is not None
    os.kill(guardian._child.pid, signal.SIGKILL)
    guardian._child.wait()
    with pytest.raises(TokenUnavailableError):
        guardian.sign(DIGEST)
    assert ecdsa.verify(guardian.sign(DIGEST), DIGEST, public)


def test_it_ends_with_its_worker(guardian: GuardianProcess) -> None:
    guardian.public_key()
    child = guardian._child
    assert child is not None
    guardian.close()
    assert child.returncode == 0


def test_a_refused_pin_is_told_as_such_and_tried_once(folder: SoftHsmFolder) -> None:
    _init(folder)
    folder.pin_file.write_text("another-pin-than-that\n")
    wrong = GuardianProcess(folder.uri, folder.conf)
    for _ in range(2):
        with pytest.raises(PinRefusedError):
            wrong.public_key()
    wrong.close()


def test_what_is_no_digest_or_no_token_asks_nobody() -> None:
    with pytest.raises(TokenUriError):
        GuardianProcess("no uri")
    found = GuardianProcess("pkcs11:token=x?module-path=/nowhere&pin-source=file:/nowhere")
    with pytest.raises(HsmInputError):
        found.sign(b"short")
    assert found._child is None
