"""How kombu calls the broker that an installation names."""

from urllib.parse import parse_qs, urlsplit

from service.domain.secrets import Secret


def broker_url(url: Secret) -> str:
    """Return what kombu calls this Redis URL: a Unix socket is `redis+socket://` there, its database `virtual_host`."""
    text = url.reveal()
    parts = urlsplit(text)
    if parts.scheme != "unix":
        return text
    database = parse_qs(parts.query).get("db", ["0"])[0]
    user, _, host = parts.netloc.rpartition("@")
    return f"redis+socket://{user}@{host}{parts.path}?virtual_host={database}"
