"""A key file that cannot be read for a moment delays what needs votes, and nothing that tightens."""

from pathlib import Path

import pytest

from service.config import Settings
from service.domain.errors import ConfigurationError, RetryKind, UnavailableError
from service.domain.secrets import Secret
from workers import votes_key


def test_what_needs_votes_waits_for_the_file_and_plans_do_not(tmp_path: Path) -> None:
    settings = Settings("keys", tmp_path, Secret("postgresql://unused"), tmp_path / "a.sock", None)
    path = settings.public / "authority-votes.pem"
    path.mkdir(parents=True)  # anything that cannot be read as a file
    with pytest.raises(ConfigurationError, match=r"authority-votes\.pem"):
        votes_key.pinned(settings)
    with pytest.raises(UnavailableError) as error:
        votes_key.now(settings)
    assert error.value.retry is RetryKind.LATER
    assert votes_key.for_plans(settings) == b""
    path.rmdir()
    path.write_bytes(b"pem")
    assert {read(settings) for read in (votes_key.pinned, votes_key.now, votes_key.for_plans)} == {b"pem"}
