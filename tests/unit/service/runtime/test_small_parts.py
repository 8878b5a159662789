import os
import tempfile
from pathlib import Path

import psutil
import pytest

from service.config import read_settings
from service.domain.errors import ConfigurationError
from service.domain.secrets import Secret
from service.runtime import logs
from service.runtime.accounts import Account, first_closed_folder, myself
from service.runtime.database import shown, url_for
from service.runtime.environment import base_environment, read_environment, write_environment
from service.runtime.isolation import Isolation, hand_out_folders
from service.runtime.layout import Layout
from service.runtime.memory import pss_mb, tree_pss_mb
from service.runtime.parts import withdraw
from service.runtime.processes import KINDS, POWERS
from service.runtime.servers import Place
from service.runtime.tokens import Token, own_tokens, pin_public_keys, provide_setup_token, token_environment
from service.runtime.up import Listen, Prepared, environment_of
from service.store.grants import ROLES


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    for name in ("env", "tokens/authority"):
        (tmp_path / name).mkdir(parents=True)
    return Layout(tmp_path, tmp_path, tmp_path / "run")


def test_every_power_is_opened_by_one_kind_of_process() -> None:
    assert sorted(power for power, _ in POWERS) == ["authority", "gate", "guardian", "platform", "vault"]


def test_every_kind_has_the_role_that_the_migrations_grant_rights_to() -> None:
    assert {kind.role for kind in KINDS} == set(ROLES)


def test_a_process_is_told_its_own_tokens_only() -> None:
    tokens = {power: Token(f"pkcs11:token=portcullis-{power}", Path(f"/t/{power}")) for power, _ in POWERS}
    keys = next(kind for kind in KINDS if kind.name == "keys")
    assert token_environment(tokens, keys.powers) == {
        "PORTCULLIS_TOKEN_URI": "pkcs11:token=portcullis-vault",
        "PORTCULLIS_SOFTHSM2_CONF": "/t/vault",
        "PORTCULLIS_GUARDIAN_URI": "pkcs11:token=portcullis-guardian",
        "PORTCULLIS_GUARDIAN_SOFTHSM2_CONF": "/t/guardian",
    }


def test_a_token_of_ones_own_is_looked_at_before_anything_starts(tmp_path: Path) -> None:
    module = tmp_path / "module.so"
    uri = f"pkcs11:token=t?module-path={module}&pin-source=file:/pin"
    with pytest.raises(ConfigurationError, match=r"PORTCULLIS_VAULT_URI: the PKCS#11 module .* is not there"):
        own_tokens({"PORTCULLIS_VAULT_URI": uri})
    module.touch()
    assert own_tokens({"PORTCULLIS_VAULT_URI": uri, "PORTCULLIS_GATE_URI": ""}) == {"vault": Token(uri, None)}
    with pytest.raises(ConfigurationError, match="PORTCULLIS_GATE_URI: "):
        own_tokens({"PORTCULLIS_GATE_URI": "token=t"})


def test_only_the_processes_that_use_the_broker_are_told_where_it_is(layout: Layout) -> None:
    url = Secret("redis://:broker-password@h/0")
    place = Place(Secret("postgresql://root:x@h/d"), "shown", None)
    prepared = Prepared(
        layout=layout,
        isolation=Isolation({kind.name: myself() for kind in KINDS}, None, ()),
        listen=Listen("127.0.0.1", 8420),
        redis=Place(url, "shown", None),
        database=place,
        passwords={kind.name: Secret("p") for kind in KINDS},
        tokens={power: Token(f"pkcs11:token={power}", None) for power, _ in POWERS},
    )
    told = {kind.name: environment_of(prepared, kind) for kind in KINDS}
    assert {name for name, values in told.items() if "broker-password" in str(values)} == {
        "containment",
        "keys",
        "schedule",
    }
    for name in ("api", "authority"):
        settings = read_settings(told[name])
        assert settings.redis_url is None
        with pytest.raises(ConfigurationError, match="PORTCULLIS_REDIS_URL"):
            _ = settings.broker_url
    assert read_settings(told["keys"]).broker_url == url


def test_children_do_not_inherit_the_administrators_url(layout: Layout) -> None:
    given = {"PORTCULLIS_DATABASE_URL": "postgresql://root:x@h/d", "PORTCULLIS_LOG_LEVEL": "debug", "LANG": "C.UTF-8"}
    env = base_environment(layout, "api", given)
    assert "PORTCULLIS_DATABASE_URL" not in env
    assert (env["PORTCULLIS_LOG_LEVEL"], env["LANG"]) == ("debug", "C.UTF-8")


def test_settings_survive_quoting_and_are_private(layout: Layout) -> None:
    values = {"A": "it's $HOME `x` \" \\", "B": "postgresql://u:p%20@/d?host=%2Ftmp"}
    write_environment(layout, "api", myself(), values)
    assert read_environment(layout, "api") == values
    assert layout.environment("api").stat().st_mode & 0o777 == 0o600
    assert read_environment(layout, "keys") is None


def test_the_setup_token_is_made_once_and_only_its_hash_reaches_the_authority(layout: Layout) -> None:
    token = provide_setup_token(layout, myself())
    assert token is not None
    assert provide_setup_token(layout, myself()) is None
    assert layout.setup_token.read_text().strip() == token
    assert layout.setup_token.stat().st_mode & 0o777 == 0o600
    assert token not in (layout.token("authority") / "setup-token.sha256").read_text()


def test_a_role_url_keeps_the_server_and_drops_the_administrator() -> None:
    url = url_for(Secret("postgresql://root:secret@db.example:5433/wallets?sslmode=require"), "role", Secret("p/w@"))
    assert url == "postgresql://role:p%2Fw%40@/wallets?host=db.example&port=5433&sslmode=require"
    assert "secret" not in shown(Secret("postgresql://root:secret@db.example:5433/wallets"))


def test_a_closed_folder_is_found_even_behind_a_symbolic_link(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    (closed / "inside").mkdir(parents=True)
    closed.chmod(0o700)
    link = Path(tempfile.gettempdir()) / f"pcl-link-{os.getpid()}"
    link.symlink_to(closed / "inside")
    try:
        assert first_closed_folder(link) is not None
        assert first_closed_folder(Path("/usr/bin")) is None
    finally:
        link.unlink()


def test_memory_of_a_process_is_told_and_of_nobody_is_not() -> None:
    mine = pss_mb(os.getpid())
    assert mine is not None
    assert 1 < mine < 4000
    family = tree_pss_mb(os.getpid())
    assert family is not None
    absent = max(psutil.pids()) + 100_000
    assert pss_mb(absent) is None
    assert tree_pss_mb(absent) is None


def test_a_large_log_keeps_one_older_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_BYTES", 10)
    path = tmp_path / "api.log"
    with logs.open_log(path) as log:
        log.write(b"first line\n")
        log.flush()
        logs.rotate(path)
        log.write(b"second\n")
    assert path.read_bytes() == b"second\n"
    assert (tmp_path / "api.log.1").read_bytes() == b"first line\n"
    assert logs.tail(path) == "second"
    assert path.stat().st_mode & 0o777 == 0o600


def folders_of(tmp_path: Path) -> Layout:
    found = Layout(tmp_path, tmp_path, tmp_path / "run")
    for folder in (found.run, found.home / "cache", found.home / "tokens"):
        folder.mkdir()
    return found


@pytest.mark.parametrize("trap", ["symlink", "fifo", "hardlink"])
def test_a_planted_ready_file_leads_nobody_astray(tmp_path: Path, trap: str) -> None:
    """The key worker would have truncated the file that another process had chosen."""
    places = folders_of(tmp_path)
    seal = tmp_path / "sealed-keys"
    seal.write_text("precious")
    places.ready.mkdir()
    planted = places.ready / "keys"
    match trap:
        case "symlink":
            planted.symlink_to(seal)
        case "hardlink":
            planted.hardlink_to(seal)
        case _:
            os.mkfifo(planted)
    nobody_apart = Isolation({kind.name: myself() for kind in KINDS}, None, ())
    hand_out_folders(places, nobody_apart)
    planted.write_text("17\n")
    assert seal.read_text() == "precious"
    assert planted.is_file()
    hand_out_folders(places, nobody_apart)
    assert planted.read_text() == "17\n"
    withdraw(planted)
    assert planted.read_text() == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root hands folders to others")
def test_no_process_writes_where_another_does_and_only_the_api_reaches_the_authority(tmp_path: Path) -> None:
    places = folders_of(tmp_path)
    accounts = {kind.name: Account(kind.user, 61_000 + n, 62_000 + n, (63_000,)) for n, kind in enumerate(KINDS)}
    hand_out_folders(places, Isolation(accounts, 63_000, ()))
    ready = places.ready.stat()
    assert (ready.st_uid, ready.st_gid, ready.st_mode & 0o7777) == (0, 0, 0o711)
    for name, account in accounts.items():
        assert (places.ready / name).stat().st_uid == account.uid
    door = places.authority_socket.parent.stat()
    assert (door.st_uid, door.st_gid) == (accounts["authority"].uid, accounts["api"].gid)
    assert door.st_mode & 0o7777 == 0o2750


@pytest.mark.parametrize("link", ["symlink_to", "hardlink_to"])
def test_a_public_key_that_is_a_link_is_not_taken_over(tmp_path: Path, link: str) -> None:
    places = folders_of(tmp_path)
    places.public.mkdir()
    precious = tmp_path / "shadow"
    precious.write_text("secret")
    precious.chmod(0o600)
    key = places.public / "authority-votes.pem"
    getattr(key, link)(precious)
    with pytest.raises(ConfigurationError, match="is a link"):
        pin_public_keys(places)
    assert precious.stat().st_mode & 0o777 == 0o600
    key.unlink()
    key.write_text("PEM")
    pin_public_keys(places)
    assert key.stat().st_mode & 0o777 == 0o644
