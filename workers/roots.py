"""The composition roots: one per process kind, built in each pool child after the fork.

Rules (design D7): a root opens its own kind of token with its own PIN source; the guardian's is opened by a child of the
key worker, at its first use. The containment worker has platform keys and no wallet keys, the key worker wallet keys and no
platform keys. Secrets of connections and channels are unsealed inside the token on demand; what signs calls to a platform
is kept for a moment (`opened.py`), nothing else. Every child protects its memory before the token is opened.
"""

import os
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

import structlog

from hsm.errors import HsmInputError
from hsm.memory import protect_process
from hsm.pkcs11.config import TokenConfig
from hsm.pkcs11.custodian import TokenCustodian
from hsm.pkcs11.guardian_process import GuardianProcess
from hsm.pkcs11.platform import PlatformToken
from service.actions.base import actions_in
from service.chain.bitcoin import bitcoin_chains
from service.chain.bitcoin_tracing import BitcoinTracing
from service.chain.evm import FINALIZED, JsonRpcChain
from service.chain.evm_tracing import EvmTracing
from service.chain.guard import guard_code
from service.chain.safe_service import HttpSafeService
from service.clock import SystemClock
from service.config import Settings
from service.discovery import declarations
from service.domain.bitcoin.network import network_of
from service.domain.errors import ConfigurationError, NotFoundError, PortcullisError
from service.domain.evm import chain_number
from service.domain.ids import ConnectionId
from service.domain.plan import Lane
from service.domain.setup import secret_aad
from service.flow.contain import Hands
from service.flow.forensics import Tracer
from service.flow.poll import EVERY_S, Asking
from service.flow.respond import Desk
from service.notifiers import registry
from service.notifiers.outside import SignedMail
from service.outgoing import trusted
from service.pins import require_pinned
from service.playbooks.loader import load
from service.ports.custody import (
    Capability,
    ConnectionConfig,
    ContainmentCalls,
    EventSource,
    PlatformDeclaration,
    SignHere,
)
from service.ports.notify import Channel
from service.ports.store.unit import UnitOfWork
from service.store.database import SqlDatabase, create
from service.store.gate_holds import SqlGateHolds
from service.store.polling import POLL_SETTING
from service.vault.guardian import Guardian
from service.vault.multisig import Multisigs
from service.vault.parts import VaultParts, token_calls
from service.vault.purse import Purse
from service.vault.vaults import Vaults
from workers import containment, delivery, incidents, keys, votes_key
from workers.ahead import OPENED_BY, Ahead, Rows
from workers.hurry import Hurry
from workers.jobs import Jobs, begin
from workers.leases import keeper
from workers.letters import signed
from workers.lines import Lines
from workers.opened import Opened
from workers.pace import Turns
from workers.publish import Message
from workers.rehearsal import rehearse
from workers.straight import Straight

ACTIONS = "service.actions"
PLATFORMS = "service.custody"
API_KEY = "api_private_key"
"""The secret that signs our calls to a platform: RSA, PEM, unencrypted inside its seal."""
MOST_LINES: Final = 50
"""How many connections a child makes ready for at its start."""
Configured = Callable[[Rows], tuple[ConnectionConfig, Mapping[str, bytes]]]
"""Makes of a connection's rows what its platform's code gets, and its secrets as they are sealed."""
_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class WorkerRoot:
    """One child's wiring; `close` gives everything back."""

    db: SqlDatabase
    jobs: Jobs
    token: PlatformToken | TokenCustodian
    hurry: Hurry
    rehearse: Callable[[], object] = lambda: None
    """Pays for what the first hold would pay for; for the alarm child."""
    straight: Straight | None = None
    """How alerts get to their holds; only where platforms are called."""
    lines: Lines | None = None
    guardian: GuardianProcess | None = None

    def alert(self, message: Message, more: Callable[[], bool]) -> None:
        """Do an alert and go on to its hold; `more` says whether another one waits."""
        if self.straight is None:
            begin(self, message)
        else:
            self.straight.go(self, message, more)

    def finish(self) -> bool:
        """Do something that was left for a moment when no alert waits; say whether there was anything."""
        return self.straight is not None and self.straight.finish(self)

    def close(self) -> None:
        """Hang up, log out of the tokens and close the pool."""
        if self.lines is not None:
            self.lines.close()
        self.token.close()
        if self.guardian is not None:
            self.guardian.close()
        self.db.engine.dispose()


def containment_root(settings: Settings) -> WorkerRoot:
    """Wire the containment worker. Raises ConfigurationError, and HsmError when the token does not open."""
    _protect()
    hurry = Hurry()
    trusted()  # now, because the first hold would wait for it
    db, owner = _database(settings, hurry), _owner()
    token = PlatformToken.open(_token(settings))
    require_pinned(settings.public / "containment-seal.pem", token.secrets.public_key_pem())
    actions = actions_in(ACTIONS)
    pem = partial(votes_key.now, settings)
    platforms = declarations(PLATFORMS, "PLATFORM", PlatformDeclaration)
    ahead, reached = Ahead(), partial(_configured, token, Opened())
    lines = Lines(partial(_line, db, token, platforms), partial(Turns, db, ahead=ahead))
    hands = Hands(
        db=db,
        clock=SystemClock(),
        owner=owner,
        lane=Lane.CONTAINMENT,
        actions=actions,
        votes_key_pem=pem,
        keep=keeper(db),
        platform=partial(_calls, db, reached, ahead, lines),
        heard=lines.heard,
        hurry=lines.hurry,
        may_call=partial(_require_open, db, ahead),
        foresee=ahead.read,
        expect=ahead.expect,
        about_to_call=ahead.count,
        ours=lines.ours,
        outside=SignedMail(partial(_channels, db, token), partial(signed, token)),
    )
    playbooks = load(actions, settings.extra_playbooks)
    desk = Desk(db, actions, playbooks, partial(votes_key.for_plans, settings), partial(_lacks, reached, lines))
    jobs = {
        **incidents.jobs(db, desk, pem, _tracer(settings, db)),
        **containment.jobs(hands),
        **delivery.jobs(db, partial(_channels, db, token), pem, owner),
        **delivery.asking_jobs(Asking(db, SystemClock(), partial(_source, db, token, reached, platforms))),
    }

    def warm_up() -> None:
        rehearse(db, desk, hands)
        _open_lines(db, reached, lines)

    return WorkerRoot(db, jobs, token, hurry, warm_up, Straight(db, desk, hands), lines)


def keys_root(settings: Settings) -> WorkerRoot:
    """Wire the key worker. Raises ConfigurationError, and HsmError when the token does not open."""
    _protect()
    hurry = Hurry()
    db = _database(settings, hurry)
    token = TokenCustodian.open(_token(settings))
    bitcoin = bitcoin_chains(settings.chains)
    chains = {
        chain: JsonRpcChain(endpoint, _number(chain), settings.finality.get(chain, FINALIZED))
        for chain, endpoint in settings.chains.items()
        if chain not in bitcoin
    }
    parts = VaultParts(db, token, token.statements, chains, votes_key.pinned(settings), SystemClock(), bitcoin)
    vault = Vaults(parts)
    guardian = (
        None if settings.guardian is None else GuardianProcess(settings.guardian.uri, settings.guardian.softhsm_conf)
    )
    hands = Hands(
        db=db,
        clock=SystemClock(),
        owner=_owner(),
        lane=Lane.KEYS,
        actions=actions_in(ACTIONS),
        votes_key_pem=partial(votes_key.now, settings),
        keep=keeper(db),
        vault=vault,
        multisig=None if guardian is None else _multisigs(settings, guardian, parts),
    )
    return WorkerRoot(db, keys.jobs(hands, vault), token, hurry, guardian=guardian)


def _protect() -> None:
    unprotected = protect_process().missing
    if unprotected:
        _log.warning("memory.not_protected", missing=unprotected)


def _multisigs(settings: Settings, token: GuardianProcess, parts: VaultParts) -> Multisigs:
    code = guard_code()

    def guardian(chain: str) -> Guardian:
        purse = Purse(parts.db, chain)
        return Guardian(token, parts.chain(chain), chain_number(chain), code, settings.guard_recovery, purse)

    services = {chain: HttpSafeService(endpoint) for chain, endpoint in settings.safe_services.items()}
    return Multisigs(parts, guardian, services)


def _number(chain: str) -> int | None:
    return chain_number(chain) if chain.startswith("eip155:") else None


def _tracer(settings: Settings, db: SqlDatabase) -> Tracer:
    bitcoin = {chain: network_of(chain) for chain in settings.chains if chain.startswith("bip122:")}
    return Tracer(
        db,
        {c: EvmTracing(endpoint, c) for c, endpoint in settings.chains.items() if c not in bitcoin},
        {c: BitcoinTracing(settings.chains[c], network) for c, network in bitcoin.items()},
        SystemClock(),
    )


def check_actions(settings: Settings) -> None:
    """Load what the key worker needs declared, before anything starts. Raises ConfigurationError naming the file."""
    load(actions_in(ACTIONS), settings.extra_playbooks)


def check_all(settings: Settings) -> None:
    """Load actions, playbooks and platforms, before anything starts. Raises ConfigurationError naming the file."""
    check_actions(settings)
    declarations(PLATFORMS, "PLATFORM", PlatformDeclaration)


def _database(settings: Settings, hurry: Hurry) -> SqlDatabase:
    return SqlDatabase(create(settings.database_url, pool_size=3), SystemClock(), hurry.note)


def _owner() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _token(settings: Settings) -> TokenConfig:
    if settings.token is None:
        raise ConfigurationError("PORTCULLIS_TOKEN_URI is not set: this worker cannot act without its token")
    return TokenConfig.from_uri(settings.token.uri, settings.token.softhsm_conf)


def _calls(
    db: SqlDatabase, reached: Configured, ahead: Ahead, lines: Lines, connection_id: ConnectionId
) -> ContainmentCalls:
    return lines.to(*reached(ahead.rows(connection_id) or _rows(db, connection_id)))


def _lacks(
    reached: Configured, lines: Lines, uow: UnitOfWork, connection_id: ConnectionId, capability: Capability
) -> str | None:
    """Say why a connection's platform can never do something; nothing of one that cannot be made ready to call."""
    try:
        calls = lines.to(*reached(uow.registry.reached(connection_id, OPENED_BY)))
    except PortcullisError as error:  # its first step will say so to people
        _log.warning("line.not_opened", connection_id=connection_id, error_code=error.code)
        return None
    return None if capability in calls.capabilities else calls.lacks(capability)


def _open_lines(db: SqlDatabase, reached: Configured, lines: Lines) -> None:
    """Make ready to call, before the first hold has to; nothing is sent."""
    try:
        with db.begin(on_disk=False) as uow:
            known = [uow.registry.reached(one.id, OPENED_BY) for one in uow.registry.connections()[:MOST_LINES]]
    except PortcullisError as error:
        _log.warning("lines.not_opened", error_code=error.code)
        return
    for rows in known:
        try:
            lines.to(*reached(rows))
        except PortcullisError as error:  # its first step will say so to people
            _log.warning("line.not_opened", connection_id=rows[0].id, error_code=error.code)


def _require_open(db: SqlDatabase, ahead: Ahead, connection_id: ConnectionId) -> None:
    Turns(db, connection_id, ahead=ahead).require_open()


def _source(
    db: SqlDatabase,
    token: PlatformToken,
    reached: Configured,
    platforms: Mapping[str, PlatformDeclaration],
    connection_id: ConnectionId,
) -> tuple[EventSource | None, float]:
    config, _ = reached(_rows(db, connection_id))
    platform = _platform(platforms, config)
    paced = replace(config, pace=Turns(db, connection_id, poll=True))
    source = None if platform.poll is None else platform.poll(paced, _signer(token, config))
    return source, float(config.settings.get(POLL_SETTING, EVERY_S))


def _rows(db: SqlDatabase, connection_id: ConnectionId) -> Rows:
    with db.begin(on_disk=False) as uow:
        return uow.registry.reached(connection_id, OPENED_BY)


def _configured(token: PlatformToken, opened: Opened, rows: Rows) -> tuple[ConnectionConfig, Mapping[str, bytes]]:
    """Return a connection as its platform's code gets it, and its secrets as they are sealed."""
    row, sealed = rows

    def secret(name: str) -> bytes:
        if name not in sealed:
            raise NotFoundError(f"connection {row.id} has no secret {name!r} for the containment worker")
        parts = sealed[name], secret_aad(row.id, name)
        return unseal(*parts) if name == API_KEY else opened.get(*parts, unseal)

    def unseal(what: bytes, bound_to: bytes) -> bytes:
        with token_calls():
            return token.secrets.unseal(what, bound_to)

    return ConnectionConfig(row.id, row.platform, row.settings, secret, tuple(sealed)), sealed


def _line(
    db: SqlDatabase, token: PlatformToken, platforms: Mapping[str, PlatformDeclaration], config: ConnectionConfig
) -> ContainmentCalls:
    return _platform(platforms, config).calls(config, _signer(token, config), SqlGateHolds(db))


def _platform(platforms: Mapping[str, PlatformDeclaration], config: ConnectionConfig) -> PlatformDeclaration:
    platform = platforms.get(config.platform)
    if platform is None:
        raise ConfigurationError(
            f"connection {config.id} names the platform {config.platform!r}, which is not installed"
        )
    return platform


def _signer(token: PlatformToken, config: ConnectionConfig) -> SignHere | None:
    def sign(message: bytes) -> bytes:
        with token_calls():
            return token.sign(config.id, message)

    return sign if _has_api_key(token, config) else None


def _has_api_key(token: PlatformToken, config: ConnectionConfig) -> bool:
    """Say whether the connection can sign; a key that was handed in enters the token at its first use and stays there."""
    with token_calls():
        if token.has_api_key(config.id):
            return True
        if API_KEY not in config.secret_names:
            return False
        try:
            token.import_api_key(config.id, config.secret(API_KEY))
        except HsmInputError:
            if not token.has_api_key(config.id):  # another child was not quicker: the key itself is wrong
                raise
        return True


def _channels(db: SqlDatabase, token: PlatformToken) -> Mapping[str, Channel]:
    with db.begin() as uow:
        rows = uow.registry.channels()

    def unseal(sealed: bytes, aad: bytes) -> bytes:
        with token_calls():
            return token.secrets.unseal(sealed, aad)

    return registry.channels_from(rows, unseal)
