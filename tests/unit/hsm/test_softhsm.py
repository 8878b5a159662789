import stat
from pathlib import Path

import pytest

from hsm.errors import ModuleMissingError, TokenLayoutError
from hsm.power import Power
from hsm.softhsm import SoftHsmFolder, find_module
from hsm.uri import Pkcs11Uri


def folder_in(path: Path) -> SoftHsmFolder:
    return SoftHsmFolder(Power.VAULT, path / "vault", Path("/m.so"))


def test_files_are_private_and_made_once(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    folder.prepare()
    before = {path: path.read_text() for path in (folder.conf, folder.pin_file, folder.so_pin_file)}
    folder.prepare()
    assert {path: path.read_text() for path in before} == before
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in before)
    assert stat.S_IMODE(folder.folder.stat().st_mode) == stat.S_IMODE(folder.tokens.stat().st_mode) == 0o700
    assert before[folder.pin_file] != before[folder.so_pin_file]
    assert {path.name for path in folder.folder.iterdir()} == {"softhsm2.conf", "pin", "so-pin", "tokens"}


def test_the_uri_locates_everything_and_holds_no_pin(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    folder.prepare()
    uri = Pkcs11Uri.parse(folder.uri)
    assert uri.need("token") == "portcullis-vault"
    assert uri.need_file("pin-source") == folder.pin_file
    assert uri.need_file("x-softhsm-conf") == folder.conf
    assert folder.pin_file.read_text().strip() not in folder.uri


def test_a_configuration_of_other_tokens_is_not_touched(tmp_path: Path) -> None:
    folder = folder_in(tmp_path)
    folder.folder.mkdir()
    folder.conf.write_text("directories.tokendir = /somewhere/else\n")
    with pytest.raises(TokenLayoutError, match="does not name"):
        folder.prepare()
    assert folder.conf.read_text() == "directories.tokendir = /somewhere/else\n"
    folder.conf.write_text(f"log.level = INFO\ndirectories.tokendir={folder.tokens}\n")
    folder.prepare()


def test_a_missing_module_names_the_install_command(tmp_path: Path) -> None:
    with pytest.raises(ModuleMissingError, match="apt-get install softhsm2"):
        find_module([tmp_path / "no.so"])
