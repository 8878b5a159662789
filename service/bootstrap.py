"""The API process, put together: what it opens and nothing more (design D7).

Opened: the database under the API's role; the gate token, which signs callback answers and unseals webhook secrets; the
engine's detectors. Not here: platform keys, wallet keys, TOTP seeds.
"""

from dataclasses import dataclass

from hsm.errors import HsmError
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.gate import GateSigner
from rules.errors import RulesError
from rules.loader import DEFAULT_DIRECTORY
from service.clock import SystemClock
from service.config import Settings
from service.domain.errors import ConfigurationError
from service.flow.rulebook import Rulebook
from service.pins import require_pinned
from service.store.database import SqlDatabase, create


@dataclass(frozen=True, slots=True)
class Opened:
    """What the API process holds open."""

    settings: Settings
    clock: SystemClock
    database: SqlDatabase
    gate: GateSigner
    rulebook: Rulebook

    def close(self) -> None:
        """Close the token and the database."""
        self.gate.close()
        self.database.engine.dispose()


def open_api(settings: Settings) -> Opened:
    """Open everything the API needs.

    Raises ConfigurationError for a wrong detector, a missing token or one whose PIN was refused.
    """
    if settings.token is None:
        raise ConfigurationError("PORTCULLIS_TOKEN_URI is not set: the API signs callback answers with the gate token")
    try:
        gate = GateSigner.open(TokenConfig.from_uri(settings.token.uri, settings.token.softhsm_conf))
    except HsmError as error:
        raise ConfigurationError(str(error)) from error
    require_pinned(settings.public / "gate-callback.pem", gate.public_key_pem())
    require_pinned(settings.public / "api-seal.pem", gate.secrets.public_key_pem())
    clock = SystemClock()
    database = SqlDatabase(create(settings.database_url, pool_size=settings.pool_size), clock)
    votes = settings.public / "authority-votes.pem"
    rulebook = Rulebook(database, settings.extra_detectors or DEFAULT_DIRECTORY, votes.read_bytes)
    try:
        rulebook.open()
    except RulesError as error:
        raise ConfigurationError(str(error)) from error
    return Opened(settings, clock, database, gate, rulebook)
