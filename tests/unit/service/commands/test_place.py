"""Which database a command reads, and what it says where that is none."""

from pathlib import Path

import pytest

from service.commands.place import reading
from service.domain.errors import ConfigurationError, UnavailableError


def test_what_is_no_url_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORTCULLIS_DATABASE_URL", "localhost")
    with pytest.raises(ConfigurationError, match="PORTCULLIS_DATABASE_URL is not a PostgreSQL URL"), reading("it"):
        pass


def test_a_server_that_is_away_is_told_without_the_password(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PORTCULLIS_DATABASE_URL", f"postgresql://me:secret@/it?host={tmp_path}")
    with pytest.raises(UnavailableError, match="the log could not be read: connection") as told, reading("the log"):
        pass
    assert "secret" not in str(told.value)
