"""The installation's folder: what is where, who may read it, and that only one `up` uses it.

Rules enforced here: one `up` per folder (flock(2), so a killed one leaves no lock behind); a folder of another layout
version is refused before anything in it changes; folders are closed by default (0711 for the top, so that processes can
reach what is theirs by name, 0700 below); a socket path longer than the kernel takes (107 bytes, unix(7)) moves to a
short private folder that is ours.
"""

import fcntl
import hashlib
import os
import secrets
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from service.domain.errors import ConfigurationError, ConflictError, UnavailableError
from service.runtime.accounts import first_closed_folder

LAYOUT_VERSION: Final = 1
SOCKET_PATH_LIMIT: Final = 107
LONGEST_SOCKET: Final = "authority/authority.sock"
LEAST_FREE_BYTES: Final = 300 * 1024 * 1024
SERVERS_OF_CLOSED_HOMES: Final = Path("/var/lib/portcullis")


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of everything below one home folder."""

    home: Path
    servers: Path
    """Data of the embedded servers: the home itself, or a folder their users can reach when the home is closed."""
    sockets: Path

    @property
    def version_file(self) -> Path:
        return self.home / "layout-version"

    @property
    def lock_file(self) -> Path:
        return self.home / "lock"

    @property
    def logs(self) -> Path:
        return self.home / "logs"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def ready(self) -> Path:
        return self.run / "ready"

    @property
    def state_file(self) -> Path:
        return self.run / "state.json"

    @property
    def public(self) -> Path:
        return self.home / "public"

    @property
    def setup_token(self) -> Path:
        return self.home / "setup-token"

    @property
    def authority_socket(self) -> Path:
        return self.sockets / "authority" / "authority.sock"

    @property
    def postgres_sockets(self) -> Path:
        return self.sockets / "pg"

    @property
    def valkey_socket(self) -> Path:
        return self.sockets / "redis" / "redis.sock"

    def token(self, power: str) -> Path:
        """Folder of one power's token, PIN and SoftHSM configuration."""
        return self.home / "tokens" / power

    def environment(self, process: str) -> Path:
        """File of one process's settings."""
        return self.home / "env" / f"{process}.env"

    def scratch(self, process: str) -> Path:
        """Folder one process may write caches to."""
        return self.home / "cache" / process

    def log(self, process: str) -> Path:
        """One process's log."""
        return self.logs / f"{process}.log"


def layout_of(home: Path) -> Layout:
    """Return the layout of `home`, which need not exist yet."""
    home = home.absolute()
    short = hashlib.sha256(os.fsencode(home)).hexdigest()[:12]
    open_part = home if home.exists() else home.parent
    closed = os.geteuid() == 0 and open_part.exists() and first_closed_folder(open_part) is not None
    servers = SERVERS_OF_CLOSED_HOMES / short if closed else home
    sockets = servers / "run"
    if len(os.fsencode(sockets / LONGEST_SOCKET)) > SOCKET_PATH_LIMIT:
        runtime = os.environ.get("XDG_RUNTIME_DIR", "")
        base = "/run" if os.geteuid() == 0 else runtime or "/tmp"  # noqa: S108  made private and checked in `open_home`
        sockets = Path(base) / f"portcullis-{short}"
    return Layout(home, servers, sockets)


def open_home(layout: Layout) -> IO[str]:
    """Make the folders, check the version and take the lock; the returned file holds the lock while it is open.

    Raises ConfigurationError for another layout version or a folder we cannot write, ConflictError when another `up`
    runs, UnavailableError when the disk is nearly full.
    """
    try:
        _make(layout.home, 0o711)
        lock = _lock(layout)
    except PermissionError as error:
        raise ConfigurationError(
            f"{layout.home} cannot be written ({error.strerror}): run as the user who owns it, or choose another folder"
            " in PORTCULLIS_HOME"
        ) from error
    try:
        _check_version(layout)
        _make_folders(layout)
        _check_disk(layout)
    except BaseException:
        lock.close()
        raise
    return lock


def holder(layout: Layout) -> int | None:
    """Return the pid of the `up` that runs in this home, or None when none does."""
    try:
        with layout.lock_file.open() as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int(lock.read().strip() or 0)
    except FileNotFoundError:
        return None
    return None


def kept_secret(path: Path) -> str:
    """Return the random secret in `path`, making it (256 bits, readable by us only) when it is not there."""
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(32))
    return path.read_text()


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, never showing it half-written."""
    unfinished = path.with_name(f".{path.name}.new")
    unfinished.unlink(missing_ok=True)
    unfinished.touch(mode=0o600)
    unfinished.write_text(text)
    unfinished.replace(path)


def _lock(layout: Layout) -> IO[str]:
    lock = layout.lock_file.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        lock.seek(0)
        pid = lock.read().strip()
        lock.close()
        raise ConflictError(
            f"`portcullis up` already runs in {layout.home} (pid {pid}): use it, stop it with `portcullis down`, or set"
            " PORTCULLIS_HOME to another folder"
        ) from error
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def _check_version(layout: Layout) -> None:
    if not layout.version_file.exists():
        if (layout.home / "postgres").exists() or (layout.home / "tokens").exists():
            raise ConfigurationError(
                f"{layout.home} holds data but no layout-version file: it is not from this program, or was damaged;"
                " restore the file from a backup, or set PORTCULLIS_HOME to a new folder"
            )
        layout.version_file.write_text(f"{LAYOUT_VERSION}\n")
    found = layout.version_file.read_text().strip()
    if found != str(LAYOUT_VERSION):
        older = found.isdigit() and int(found) < LAYOUT_VERSION
        advice = (
            "start it once with the release that made it and follow UPGRADING in the changelog"
            if older
            else "it was made by a newer release: use that release, never an older one"
        )
        raise ConfigurationError(
            f"{layout.home} has layout version {found!r}, this program works with {LAYOUT_VERSION}: {advice}, or set"
            " PORTCULLIS_HOME to a new folder"
        )


def _make_folders(layout: Layout) -> None:
    for folder in (layout.servers, layout.run, layout.sockets):
        _make(folder, 0o711)
    for name in ("env", "tokens", "cache"):
        _make(layout.home / name, 0o711)
    for name in ("logs", "demo"):
        _make(layout.home / name, 0o700)
    _make(layout.public, 0o755)


def _check_disk(layout: Layout) -> None:
    free = shutil.disk_usage(layout.home).free
    if free < LEAST_FREE_BYTES:
        raise UnavailableError(
            f"only {free // 2**20} MB are free below {layout.home}, the service wants {LEAST_FREE_BYTES // 2**20} MB:"
            " free some space, or move PORTCULLIS_HOME to another disk"
        )


def _make(folder: Path, mode: int) -> None:
    """Make a folder of ours; one that another user made is refused (a name in /tmp could be squatted on)."""
    folder.mkdir(mode=mode, parents=True, exist_ok=True)
    found = folder.lstat()
    if folder.is_symlink() or found.st_uid != os.geteuid():
        raise ConfigurationError(
            f"{folder} does not belong to the user who runs this: remove it or choose another home"
        )
    folder.chmod(mode)
