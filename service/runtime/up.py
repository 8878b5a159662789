"""Bring an installation up and keep it up: the order of things, in one place.

Rules enforced here: everything that can be refused is refused before anything is started; what had been started is
stopped again when a later step fails; the administrator's database URL stays in this process.
"""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Final

import psutil

from service.domain.errors import ConfigurationError, ConflictError, UnavailableError
from service.domain.secrets import Secret
from service.runtime import database
from service.runtime.environment import base_environment, read_environment, write_environment
from service.runtime.errors import StoppedEarlyError
from service.runtime.isolation import Isolation, hand_out_folders, plan_isolation
from service.runtime.layout import Layout, open_home
from service.runtime.parts import Part, ProcessPart, ProcessPlan, answers_health
from service.runtime.processes import API, AUTHORITY, CONTAINMENT, KEYS, KINDS, ProcessKind
from service.runtime.servers import REDIS_VARIABLE, Place, check_own_servers, start_postgres, start_redis
from service.runtime.supervisor import STOPPED_EARLY, Supervisor
from service.runtime.tokens import (
    Token,
    begin_tokens,
    open_public_folder,
    pin_public_keys,
    provide_setup_token,
    token_environment,
)

MIGRATE_TIMEOUT_S: Final = 600
CHAINS: Final = "PORTCULLIS_CHAINS"
"""Endpoints may carry a key of the user's, so only the processes that talk to chains are told them."""
GUARD_RECOVERY: Final = "PORTCULLIS_GUARD_RECOVERY"
"""For the key worker alone."""
SAFE_SERVICES: Final = "PORTCULLIS_SAFE_SERVICES"
FINALITY: Final = "PORTCULLIS_FINALITY"
"""For the key worker alone, as the chains' endpoints."""
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the API listens; port 0 takes a free one."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Prepared:
    """Everything a process plan needs to know."""

    layout: Layout
    isolation: Isolation
    listen: Listen
    redis: Place
    database: Place
    passwords: Mapping[str, Secret]
    tokens: Mapping[str, Token]


def run_up(layout: Layout, listen: Listen, say: Say, *, only_prepare: bool = False) -> None:
    """Bring everything up, say one line per part, and stay until told to stop (SIGINT, SIGTERM, SIGHUP).

    Raises PortcullisError that says what to do; by then everything started has been stopped again.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupt)
    try:
        _stay_up(layout, listen, say, only_prepare=only_prepare)
    except KeyboardInterrupt:
        raise StoppedEarlyError(STOPPED_EARLY) from None


def _stay_up(layout: Layout, listen: Listen, say: Say, *, only_prepare: bool) -> None:
    with open_home(layout), ExitStack() as started:
        chosen = choose_port(listen)
        prepared = _prepare(layout, chosen, say, started, keep=only_prepare)
        if only_prepare:
            say("prepared: servers are migrated, tokens exist, env/ holds each process's settings")
            return
        supervisor = Supervisor(layout, _parts(prepared), say)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: supervisor.tell_to_stop())
        supervisor.start()
        pin_public_keys(layout)
        say(f"up: http://{chosen.host}:{chosen.port}  (stop with Ctrl-C or `portcullis down`)")
        supervisor.run()
    say("stopped: everything ended cleanly")


def choose_port(listen: Listen) -> Listen:
    """Return where the API will listen. Raises ConflictError that names who has the port."""
    family = socket.AF_INET6 if ":" in listen.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listen.host, listen.port))
        except PermissionError as error:
            raise ConfigurationError(f"port {listen.port} needs root: choose another with --port") from error
        except OSError as error:
            raise ConflictError(
                f"port {listen.port} on {listen.host} cannot be used ({error.strerror}{_taken_by(listen.port)}): choose"
                " another with --port, or stop what uses it"
            ) from error
        return Listen(listen.host, int(probe.getsockname()[1]))


def _prepare(layout: Layout, listen: Listen, say: Say, started: ExitStack, *, keep: bool) -> Prepared:
    isolation = plan_isolation(layout)
    for sentence in isolation.missing:
        say(f"isolation missing: {sentence}")
    hand_out_folders(layout, isolation)
    open_public_folder(layout, isolation)
    check_own_servers(os.environ)
    set_up = begin_tokens(layout, isolation, os.environ)
    started.callback(set_up.abandon)
    postgres = _until_stopped(start_postgres(layout, os.environ), started)
    redis = _until_stopped(start_redis(layout, os.environ), started)
    passwords = _migrate(postgres, _kept_passwords(layout) if keep else {})
    tokens = set_up.finish(layout)
    once = provide_setup_token(layout, isolation.accounts[AUTHORITY.name])
    if once is not None:
        say(f"set-up token (shown once, also in {layout.setup_token}): {once}")
    prepared = Prepared(layout, isolation, listen, redis, postgres, passwords, tokens)
    for kind in KINDS:
        write_environment(layout, kind.name, isolation.accounts[kind.name], environment_of(prepared, kind))
    return prepared


def _until_stopped(place: Place, started: ExitStack) -> Place:
    if place.part is not None:
        started.callback(place.part.stop)
    return place


def _kept_passwords(layout: Layout) -> dict[str, Secret]:
    """Return the passwords of the last start: in containers the processes may be running with them."""
    found: dict[str, Secret] = {}
    for kind in KINDS:
        url = (read_environment(layout, kind.name) or {}).get("PORTCULLIS_DATABASE_URL")
        password = database.password_in(url) if url else None
        if password is not None:
            found[kind.name] = password
    return found


def _migrate(postgres: Place, kept: Mapping[str, Secret]) -> dict[str, Secret]:
    """Open the processes' logins and bring the schema to head as the owner role; returns the logins' passwords."""
    with database.connect_as_administrator(postgres.url, postgres.shown) as administrator:
        owner = database.prepare_owner(administrator)
        passwords = database.open_logins(administrator, kept)
        done = subprocess.run(
            [sys.executable, "-P", "-m", "service.runtime.migrate"],
            input=f"{database.url_for(postgres.url, database.OWNER, owner)}\n{postgres.url.reveal()}\n".encode(),
            capture_output=True,
            check=False,
            timeout=MIGRATE_TIMEOUT_S,
        )
        if done.returncode != 0:
            said = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
            raise UnavailableError(f"the database could not be migrated: {said}")
        return passwords


def environment_of(prepared: Prepared, kind: ProcessKind) -> dict[str, str]:
    """Return the settings of one process kind (read by service.config)."""
    layout = prepared.layout
    values = {
        "PORTCULLIS_PROCESS": kind.name,
        "PORTCULLIS_HOME": str(layout.home),
        "PORTCULLIS_DATABASE_URL": database.url_for(prepared.database.url, kind.role, prepared.passwords[kind.name]),
        "PORTCULLIS_AUTHORITY_SOCKET": str(layout.authority_socket),
        **token_environment(prepared.tokens, kind.powers),
    }
    if kind.broker:
        values[REDIS_VARIABLE] = prepared.redis.url.reveal()
    if kind is API:
        values |= {
            "PORTCULLIS_LISTEN_HOST": prepared.listen.host,
            "PORTCULLIS_LISTEN_PORT": str(prepared.listen.port),
        }
    told = {KEYS: (CHAINS, FINALITY, GUARD_RECOVERY, SAFE_SERVICES), CONTAINMENT: (CHAINS,)}.get(kind, ())
    values |= {name: os.environ[name] for name in told if name in os.environ}
    return base_environment(layout, kind.name) | values


def _parts(prepared: Prepared) -> list[Part]:
    servers = [place.part for place in (prepared.database, prepared.redis) if place.part is not None]
    return [*servers, *(ProcessPart(_plan(prepared, kind)) for kind in KINDS)]


def _plan(prepared: Prepared, kind: ProcessKind) -> ProcessPlan:
    layout = prepared.layout
    listen = prepared.listen
    addresses = {API.name: f"http://{listen.host}:{listen.port}", AUTHORITY.name: f"socket {layout.authority_socket}"}
    return ProcessPlan(
        name=kind.name,
        address=addresses.get(kind.name, kind.does),
        arguments=("-P", "-m", *kind.module),
        account=prepared.isolation.accounts[kind.name],
        environment=environment_of(prepared, kind),
        folder=layout.scratch(kind.name),
        log=layout.log(kind.name),
        ready_file=layout.ready / kind.name,
        stop_timeout_s=kind.stop_timeout_s,
        answers=partial(answers_health, listen.host, listen.port) if kind is API else None,
    )


def _taken_by(port: int) -> str:
    try:
        found = next((c for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port == port and c.pid), None)
    except psutil.Error:
        return ""
    return f", pid {found.pid} has it" if found is not None else ""


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
