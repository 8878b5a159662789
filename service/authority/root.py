"""The authority's composition root: its settings, its database role, its token, its socket.

Rules: it opens the authority token and no other (design D7); it serves on a Unix socket only, whose folder decides who may
call; the public keys that others have pinned must be the token's own, or it does not start; what a crash left approved but
not carried out is carried out before the first request; its memory is protected before the token is opened, because a
TOTP seed passes through it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import structlog
import uvicorn

from hsm.memory import protect_process
from hsm.pkcs11.authority import AuthorityToken
from hsm.pkcs11.config import TokenConfig
from service.actions.base import ContainmentAction
from service.authority.app import application
from service.authority.changes import settle
from service.authority.first_setup import FirstSetup
from service.authority.office import Office
from service.clock import SystemClock
from service.config import Settings, read_settings
from service.discovery import subclasses
from service.domain.errors import ConfigurationError
from service.domain.quorum import Approval
from service.log import configure
from service.pins import require_pinned
from service.store.database import SqlDatabase, create

SETUP_FILE_VARIABLE: Final = "PORTCULLIS_SETUP_TOKEN_FILE"
VOTES_KEY: Final = "authority-votes.pem"
BALLOTS_KEY: Final = "authority-ballots.pem"
POOL_SIZE: Final = 4
_log = structlog.get_logger(__name__)


class _Server(uvicorn.Server):
    """Says that it is ready once it listens."""

    def __init__(self, config: uvicorn.Config, ready_file: Path) -> None:
        super().__init__(config)
        self._ready_file = ready_file

    async def startup(self, sockets: object = None) -> None:
        """Listen, then write the pid where the supervisor looks."""
        await super().startup(sockets)  # type: ignore[arg-type]  # uvicorn's own parameter, passed on
        if self.started:
            self._ready_file.parent.mkdir(parents=True, exist_ok=True)
            self._ready_file.write_text(f"{os.getpid()}\n")


def main() -> None:
    """Run the authority until it is told to stop. Raises ConfigurationError and HsmError before it serves."""
    configure("authority")
    settings = read_settings()
    unprotected = protect_process().missing
    if unprotected:
        _log.warning("memory.not_protected", missing=unprotected)
    office = open_office(settings)
    settle(office)
    first = FirstSetup(office, setup_token_file(settings, os.environ), declared_approvals())
    settings.authority_socket.unlink(missing_ok=True)
    config = uvicorn.Config(
        application(office, first),
        uds=str(settings.authority_socket),
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=8,
    )
    _log.info("the authority serves", socket=str(settings.authority_socket))
    try:
        _Server(config, settings.home / "run" / "ready" / "authority").run()
    finally:
        office.db.engine.dispose()


def open_office(settings: Settings) -> Office:
    """Open the token and the database. Raises ConfigurationError naming what is wrong, HsmError from the token."""
    if settings.token is None:
        raise ConfigurationError("PORTCULLIS_TOKEN_URI is not set: the authority needs its token")
    token = AuthorityToken.open(TokenConfig.from_uri(settings.token.uri, settings.token.softhsm_conf))
    pem = token.vote_public_key_pem()
    require_pinned(settings.public / VOTES_KEY, pem)
    require_pinned(settings.public / BALLOTS_KEY, token.secrets.public_key_pem())
    clock = SystemClock()
    return Office(SqlDatabase(create(settings.database_url, pool_size=POOL_SIZE), clock), token, clock, pem)


def setup_token_file(settings: Settings, environ: Mapping[str, str]) -> Path:
    """Return where the SHA-256 of the one-time set-up token is."""
    named = environ.get(SETUP_FILE_VARIABLE, "")
    return Path(named) if named else settings.home / "tokens" / "authority" / "setup-token.sha256"


def declared_approvals() -> dict[str, Approval]:
    """Return what each containment action demands by its own declaration."""
    found = subclasses("service.actions", ContainmentAction)  # type: ignore[type-abstract]  # it is only compared with
    return {name: action.approval for name, action in found.items()}
