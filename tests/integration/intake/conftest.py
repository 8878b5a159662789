"""An installation with one sender of signed webhooks."""

import pytest

from tests.support.intake import SECRET, add_account, add_connection


@pytest.fixture
def url(fresh_postgres_url: str) -> str:
    """A database of its own with connection `std` and its account `hot-1`."""
    add_connection(fresh_postgres_url, "std", "standard", {}, {"webhook_secret": SECRET})
    add_account(fresh_postgres_url, "std", "hot-1")
    return fresh_postgres_url
