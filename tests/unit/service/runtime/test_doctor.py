"""What `portcullis doctor` finds in the folder of public keys."""

from pathlib import Path

import pytest

from service.runtime import doctor
from service.runtime.doctor import Check, Outcome, examine
from service.runtime.layout import layout_of
from service.runtime.tokens import PUBLIC_KEYS


def looked_at(home: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    monkeypatch.setattr(doctor, "CLOCK_SAMPLE_S", 0.0)
    return next(check for check in examine(layout_of(home)) if check.name == "public keys")


def test_public_keys_are_all_there_and_closed_to_other_writers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    public = tmp_path / "public"
    public.mkdir(mode=0o755)
    for name in PUBLIC_KEYS:
        assert looked_at(tmp_path, monkeypatch).outcome is Outcome.CANNOT_TELL
        (public / name).write_text("PEM")
        (public / name).chmod(0o644)
    assert looked_at(tmp_path, monkeypatch).outcome is Outcome.OK
    for path in (public, public / "authority-ballots.pem"):
        before = path.stat().st_mode
        path.chmod(before | 0o020)
        found = looked_at(tmp_path, monkeypatch)
        assert found.outcome is Outcome.WRONG
        assert str(path) in found.found
        path.chmod(before)
