"""Talking to the API: what is refused before anything is sent, and what a lost answer means."""

from pathlib import Path

import httpx
import pytest

from service.commands.client import ApiClient, api_token
from service.domain.errors import ConfigurationError, UnavailableError, UnknownOutcomeError
from service.domain.secrets import Secret


def no_answer(request: httpx.Request) -> httpx.Response:
    raise httpx.ReadTimeout("", request=request)


@pytest.mark.parametrize("url", ["localhost:8420", "ftp://host", "http://", "//host"])
def test_what_is_no_address_is_told(url: str) -> None:
    with pytest.raises(ConfigurationError, match="PORTCULLIS_API_URL is no address"):
        ApiClient(Secret("x"), url)


def test_what_is_no_token_is_told_and_not_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("pcl_ö\n", encoding="utf-8")
    for environ in ({"PORTCULLIS_API_TOKEN": "pcl_ö"}, {"PORTCULLIS_API_TOKEN_FILE": str(tmp_path / "token")}):
        with pytest.raises(ConfigurationError, match="holds no API token") as refused:
            api_token(environ)
        assert "pcl_" not in str(refused.value)
    with pytest.raises(ConfigurationError, match="cannot be read"):
        api_token({"PORTCULLIS_API_TOKEN_FILE": str(tmp_path / "none")})


def test_a_lost_answer_is_unknown_only_where_something_may_have_changed() -> None:
    with ApiClient(Secret("x"), transport=httpx.MockTransport(no_answer)) as api:
        with pytest.raises(UnavailableError, match="ask again"):
            api.get("/v1/people")
        with pytest.raises(UnknownOutcomeError):
            api.post("/v1/people")
        with pytest.raises(UnknownOutcomeError):
            api.delete("/v1/tokens/x")
