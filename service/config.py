"""Settings of one process, read once from its environment.

Each process kind gets its own environment file with its own database role, token and PIN source (design D7), so no
process can read what another opens. Values that locate a secret are here; the secrets themselves are not: a PIN is read
from its PIN source by the token layer when it logs in. The database and Redis URLs do carry passwords and are therefore
redacted in every repr.
"""

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from service.domain.errors import ConfigurationError
from service.domain.secrets import Secret

PREFIX = "PORTCULLIS_"
MOST_DEEP = 10_000


@dataclass(frozen=True, slots=True)
class TokenSettings:
    """Where this process's one PKCS#11 token is: an RFC 7512 URI and, for SoftHSM, its configuration file."""

    uri: str
    softhsm_conf: Path | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a process needs to know before it can ask the database for the rest."""

    process: str
    """api | authority | containment | keys | schedule | cli"""
    home: Path
    """The installation's folder; `public/` below it holds public keys that any process may read."""
    database_url: Secret
    authority_socket: Path
    token: TokenSettings | None
    redis_url: Secret | None = None
    """The broker; None in a process that uses none (the API, the authority), which is then not told where it is."""
    listen_host: str = "127.0.0.1"
    listen_port: int = 8420
    pool_size: int = 5
    guardian: TokenSettings | None = None
    """The guardian's token, which the key worker opens beside its own."""
    guard_recovery: str | None = None
    """The 0x address that may appoint another guardian of the guards that we create."""
    extra_detectors: Path | None = None
    extra_playbooks: Path | None = None
    chains: Mapping[str, str] = field(default_factory=dict, repr=False)
    """JSON-RPC endpoint by CAIP-2 chain; not shown, because endpoints carry keys in their paths."""
    finality: Mapping[str, str | int] = field(default_factory=dict)
    """What is final by CAIP-2 chain: a block tag that its node knows (`finalized`, `safe`), or how many blocks deep."""
    safe_services: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Safe transaction service by CAIP-2 chain; not shown either."""
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def broker_url(self) -> Secret:
        """The broker of a process that needs one. Raises ConfigurationError."""
        if self.redis_url is None:
            raise ConfigurationError(_not_set("REDIS_URL"))
        return self.redis_url

    @property
    def public(self) -> Path:
        """Folder of the pinned public keys; `runtime.tokens.PUBLIC_KEYS` lists them."""
        return self.home / "public"


def read_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings of this process.

    Raises ConfigurationError that names the variable when one is missing or malformed.
    """
    env = os.environ if environ is None else environ

    def need(name: str) -> str:
        value = env.get(PREFIX + name, "")
        if not value:
            raise ConfigurationError(_not_set(name))
        return value

    def path_or_none(name: str) -> Path | None:
        value = env.get(PREFIX + name, "")
        return Path(value) if value else None

    port = env.get(PREFIX + "LISTEN_PORT", "8420")
    if not port.isdigit() or not 0 < int(port) < 65536:  # noqa: PLR2004  the TCP port range
        raise ConfigurationError(f"{PREFIX}LISTEN_PORT is {port!r}: give a port between 1 and 65535")
    home = Path(need("HOME"))
    token_uri = env.get(PREFIX + "TOKEN_URI", "")
    guardian_uri = env.get(PREFIX + "GUARDIAN_URI", "")
    redis_url = env.get(PREFIX + "REDIS_URL", "")
    return Settings(
        process=need("PROCESS"),
        home=home,
        database_url=Secret(need("DATABASE_URL")),
        authority_socket=Path(env.get(PREFIX + "AUTHORITY_SOCKET", str(home / "run" / "authority.sock"))),
        token=TokenSettings(token_uri, path_or_none("SOFTHSM2_CONF")) if token_uri else None,
        redis_url=Secret(redis_url) if redis_url else None,
        listen_host=env.get(PREFIX + "LISTEN_HOST", "127.0.0.1"),
        listen_port=int(port),
        guardian=TokenSettings(guardian_uri, path_or_none("GUARDIAN_SOFTHSM2_CONF")) if guardian_uri else None,
        guard_recovery=_address(env.get(PREFIX + "GUARD_RECOVERY", "")),
        extra_detectors=path_or_none("DETECTORS"),
        extra_playbooks=path_or_none("PLAYBOOKS"),
        chains=_endpoints("CHAINS", env),
        finality=_finality(env.get(PREFIX + "FINALITY", "")),
        safe_services=_endpoints("SAFE_SERVICES", env),
    )


def _not_set(name: str) -> str:
    return f"{PREFIX}{name} is not set: start the service with `portcullis up`, or see docs/guides/own-servers.md"


def _address(text: str) -> str | None:
    if text and not re.fullmatch("0x[0-9a-fA-F]{40}", text):
        raise ConfigurationError(f"{PREFIX}GUARD_RECOVERY must be 0x and 40 hexadecimal digits")
    return text or None


def _finality(text: str) -> dict[str, str | int]:
    """Read `eip155:1=finalized,eip155:56=20`."""
    found: dict[str, str | int] = {}
    for one in filter(None, (part.strip() for part in text.split(","))):
        chain, _, final = one.partition("=")
        number = int(final) if re.fullmatch("[0-9]{1,5}", final) else 0
        if not chain.startswith("eip155:") or (final not in {"finalized", "safe"} and not 1 <= number <= MOST_DEEP):
            raise ConfigurationError(
                f"{PREFIX}FINALITY: {one!r} is not an eip155 chain = finalized, safe or 1 to {MOST_DEEP} blocks,"
                " such as eip155:1=finalized"
            )
        found[chain] = number or final
    return found


def _endpoints(name: str, env: Mapping[str, str]) -> dict[str, str]:
    """Read `eip155:1=https://…,eip155:137=https://…`."""
    found: dict[str, str] = {}
    text = env.get(PREFIX + name, "")
    for number, one in enumerate(filter(None, (part.strip() for part in text.split(","))), 1):
        chain, separator, endpoint = one.partition("=")
        if not separator or ":" not in chain or not endpoint.startswith(("https://", "http://")):
            raise ConfigurationError(
                f"{PREFIX}{name}: entry {number} is not CAIP-2=URL, such as eip155:1=https://node.example"
            )
        found[chain] = endpoint
    return found
