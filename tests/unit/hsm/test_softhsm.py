import os
import stat
from pathlib import Path

import pytest

from hsm import softhsm
from hsm.errors import ModuleMissingError, TokenLayoutError
from hsm.power import Power
from hsm.softhsm import SoftHsmFolder
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


def test_a_missing_module_names_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(softhsm, "PLACES", (tmp_path / "absent.so",))
    with pytest.raises(ModuleMissingError, match="apt-get install softhsm2"):
        softhsm.find_module({"HOME": str(tmp_path)})
    with pytest.raises(ModuleMissingError, match="PORTCULLIS_PKCS11_MODULE is /nope"):
        softhsm.find_module({"PORTCULLIS_PKCS11_MODULE": "/nope"})


def test_an_unpacked_module_is_found_with_its_libraries(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(softhsm, "PLACES", (tmp_path / "absent.so",))
    module = tmp_path / ".cache" / "portcullis" / "softhsm" / "usr" / "lib" / "softhsm" / "libsofthsm2.so"
    module.parent.mkdir(parents=True)
    module.touch()
    assert softhsm.find_module({"HOME": str(tmp_path)}) == module
    assert softhsm.library_path({"HOME": str(tmp_path)}) == {"LD_LIBRARY_PATH": str(module.parent)}


def test_a_module_in_another_users_folder_is_not_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = tmp_path / "portcullis" / "softhsm" / "usr" / "lib" / "libsofthsm2.so"
    module.parent.mkdir(parents=True)
    module.touch()
    monkeypatch.setattr(softhsm, "PLACES", ())
    mine = {"XDG_CACHE_HOME": str(tmp_path)}
    assert softhsm.find_module(mine) == module
    monkeypatch.setattr(os, "geteuid", lambda: 4_242)
    with pytest.raises(ModuleMissingError, match="no PKCS#11 module"):
        softhsm.find_module(mine)
    assert softhsm.library_path(mine) == {}
