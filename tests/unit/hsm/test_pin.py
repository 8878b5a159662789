"""The durable record of a refused PIN and the PIN file, without a token."""

import threading
from pathlib import Path

import pytest

from hsm.errors import PinRefusedError, PinSourceError, TokenUriError
from hsm.pkcs11.config import TokenConfig, pin_from_file
from hsm.pkcs11.pin import PinRecord, token_lock


def record_in(folder: Path) -> PinRecord:
    return PinRecord(folder, "portcullis-test")


def test_a_refusal_is_seen_by_every_later_start_until_cleared(tmp_path: Path) -> None:
    record_in(tmp_path).arm()
    record_in(tmp_path).refuse()
    with pytest.raises(PinRefusedError, match="pin-clear"):
        record_in(tmp_path).check()
    assert record_in(tmp_path).clear()
    record_in(tmp_path).check()
    assert not record_in(tmp_path).clear()


def test_an_answered_login_leaves_nothing(tmp_path: Path) -> None:
    record = record_in(tmp_path)
    record.arm()
    assert record.pending()
    record.disarm()
    assert list(tmp_path.iterdir()) == []


def test_without_a_place_for_the_record_nobody_logs_in(tmp_path: Path) -> None:
    with pytest.raises(PinSourceError, match="no login"):
        record_in(tmp_path / "missing").arm()


def test_user_and_officer_have_records_of_their_own(tmp_path: Path) -> None:
    PinRecord(tmp_path, "t", who="so").refuse()
    PinRecord(tmp_path, "t").check()
    with pytest.raises(PinRefusedError):
        PinRecord(tmp_path, "t", who="so").check()


def test_the_lock_lets_one_in_at_a_time(tmp_path: Path) -> None:
    inside: list[str] = []
    order: list[str] = []

    def enter(name: str) -> None:
        with token_lock(tmp_path, "t"):
            assert not inside
            inside.append(name)
            order.append(name)
            inside.remove(name)

    threads = [threading.Thread(target=enter, args=(str(number),)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(order) == [str(number) for number in range(8)]


def write_pin(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def test_a_pin_file_is_read_when_asked(tmp_path: Path) -> None:
    assert pin_from_file(write_pin(tmp_path / "pin", "1234\n"))() == "1234"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_pin_file_that_others_can_read_is_refused(tmp_path: Path, mode: int) -> None:
    with pytest.raises(PinSourceError, match="chmod 600"):
        pin_from_file(write_pin(tmp_path / "pin", "1234", mode))()


@pytest.mark.parametrize("text", ["", "\n", "a\nb\n", "x" * 300])
def test_a_malformed_pin_file_is_refused_without_its_content(tmp_path: Path, text: str) -> None:
    with pytest.raises(PinSourceError, match="one line") as refused:
        pin_from_file(write_pin(tmp_path / "pin", text))()
    assert "xxx" not in str(refused.value)


def test_a_mounted_secret_is_a_link_and_its_target_counts(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(write_pin(tmp_path / "pin", "1234"))
    assert pin_from_file(tmp_path / "link")() == "1234"
    (tmp_path / "pin").chmod(0o644)
    with pytest.raises(PinSourceError, match="chmod 600"):
        pin_from_file(tmp_path / "link")()


def test_an_absent_pin_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PinSourceError, match="cannot read the PIN file"):
        pin_from_file(tmp_path / "pin")()


def test_a_configuration_shows_no_pin(tmp_path: Path) -> None:
    write_pin(tmp_path / "pin", "839217")
    config = TokenConfig.from_uri(f"pkcs11:token=t?module-path=/m.so&pin-source=file:{tmp_path}/pin")
    assert config.pin() == "839217"
    assert config.state_dir == tmp_path
    assert "839217" not in repr(config)


def test_a_configuration_needs_module_and_pin_source() -> None:
    with pytest.raises(TokenUriError, match="pin-source"):
        TokenConfig.from_uri("pkcs11:token=t?module-path=/m.so")
    with pytest.raises(TokenUriError, match="module-path"):
        TokenConfig.from_uri("pkcs11:token=t?pin-source=/pin")
