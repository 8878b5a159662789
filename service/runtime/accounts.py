"""Operating-system users: one per process kind, so that no process can read what another opens (design D7).

Rules enforced here: a process runs under its own user where the installation runs as root and the user exists or can be
made; otherwise it runs as whoever started the installation and `missing` says so. A server that refuses to run as root
(PostgreSQL) falls back to `nobody`. Nothing outside the installation's folder changes its mode.
"""

import grp
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

GROUP: Final = "portcullis"
LAUNCHER: Final = Path(__file__).with_name("launch.py")


@dataclass(frozen=True, slots=True)
class Account:
    """A user to run as. `uid` None means: stay who we are."""

    name: str
    uid: int | None
    gid: int
    groups: tuple[int, ...] = ()

    def own(self, *paths: Path) -> None:
        """Hand files or folders to this account."""
        if self.uid is not None:
            for path in paths:
                os.chown(path, self.uid, self.gid)

    def command(self, argv: Sequence[str], *, death_signal: signal.Signals = signal.SIGTERM) -> list[str]:
        """Return the command line that runs `argv` as this account and ends it when the caller's process ends."""
        orders = {
            "parent": os.getpid(),
            "uid": self.uid,
            "gid": self.gid,
            "groups": list(self.groups),
            "umask": 0o027 if self.groups else 0o077,
            "death_signal": int(death_signal),
        }
        return [sys.executable, "-I", "-S", str(LAUNCHER), json.dumps(orders), *argv]


def myself() -> Account:
    """Whoever runs this process."""
    return Account("the user who started it", None, os.getgid())


def ensure_group() -> int | None:
    """Return the id of the group that may reach the sockets, making it when root; None when it cannot be had."""
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        if not _administer("groupadd", "--system", GROUP):
            return None
        return grp.getgrnam(GROUP).gr_gid


def ensure_account(name: str) -> Account | None:
    """Return the system user `name`, making it when root; None when it neither exists nor can be made."""
    gid = ensure_group()
    if os.geteuid() != 0 or gid is None:
        return None
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        made = _administer(
            *("useradd", "--system", "--no-create-home", "--home-dir", "/nonexistent"),
            *("--shell", "/usr/sbin/nologin", "--user-group", name),
        )
        if not made:
            return None
        entry = pwd.getpwnam(name)
    return Account(name, entry.pw_uid, entry.pw_gid, (gid,))


def server_account(name: str) -> Account:
    """Return an account that is not root: our own user, `name`, or `nobody`."""
    if os.geteuid() != 0:
        return myself()
    account = ensure_account(name)
    if account is not None:
        return account
    nobody = pwd.getpwnam("nobody")
    return Account("nobody", nobody.pw_uid, nobody.pw_gid)


def first_closed_folder(path: Path) -> Path | None:
    """Return the first folder above or at `path` that other users may not enter, or None when all may."""
    return next((folder for folder in _downwards(path.absolute()) if not folder.stat().st_mode & 0o001), None)


def _downwards(path: Path) -> Iterator[Path]:
    """Yield every folder on the way to `path`, as named and as its symbolic links resolve."""
    for way in (path, path.resolve()):
        yield from reversed(way.parents)
        if way.is_dir():
            yield way


def _administer(program: str, *arguments: str) -> bool:
    """Run a user administration program; False when we may not, it is absent, or it fails."""
    found = shutil.which(program, path="/usr/sbin:/sbin:/usr/bin:/bin")
    if os.geteuid() != 0 or found is None:
        return False
    done = subprocess.run([found, *arguments], capture_output=True, check=False)  # noqa: S603  fixed program, our names
    return done.returncode == 0
