"""An installation after set-up with people on call, channels, and an open incident."""

from tests.integration.authority.conftest import house, ready, votes_token

__all__ = ["house", "ready", "votes_token"]
