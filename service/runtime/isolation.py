"""Which process runs as whom, and what isolation this machine cannot give.

Rules enforced here: as root every process kind gets its own user; when the program, its interpreter or the home cannot
be reached by other users, processes stay root and the message names the folder to open; nothing is opened for them. No
two processes may write to one folder: a name that another could set would lead who opens it to a file of the other's
choice. Only the API may reach the authority's socket.
"""

import os
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from service.runtime.accounts import GROUP, Account, ensure_account, ensure_group, first_closed_folder, myself
from service.runtime.layout import Layout
from service.runtime.processes import KINDS

NOT_ROOT: Final = (
    "not root: all processes run as one user, so whoever takes over one can read the others' tokens and database"
    " passwords; run as root, or use docker-compose.yml"
)
CLOSED: Final = (
    "all processes run as root, because other users cannot reach {what}: {folder} is closed to them; move the checkout"
    " to a folder like /opt/portcullis, or run `chmod o+x {folder}`"
)


@dataclass(frozen=True, slots=True)
class Isolation:
    """The user of every process kind, the common group, and sentences on what is missing."""

    accounts: Mapping[str, Account]
    group: int | None
    missing: tuple[str, ...]


def plan_isolation(layout: Layout) -> Isolation:
    """Decide the users, making them when root."""
    everyone_is_me = {kind.name: myself() for kind in KINDS}
    if os.geteuid() != 0:
        return Isolation(everyone_is_me, None, (NOT_ROOT,))
    closed = _closed_to_others(layout)
    if closed is not None:
        return Isolation(everyone_is_me, None, (CLOSED.format(what=closed[0], folder=closed[1]),))
    accounts = dict(everyone_is_me)
    refused = []
    for kind in KINDS:
        account = ensure_account(kind.user)
        if account is None:
            refused.append(kind.user)
        else:
            accounts[kind.name] = account
    missing = (
        (f"these users cannot be made, so their processes run as root: {', '.join(refused)} (is useradd there?)",)
        if refused
        else ()
    )
    return Isolation(accounts, ensure_group(), missing)


def hand_out_folders(layout: Layout, isolation: Isolation) -> None:
    """Give each process the folders and the ready file that are its own, and the API the way to the authority."""
    layout.ready.mkdir(exist_ok=True)
    layout.authority_socket.parent.mkdir(exist_ok=True)
    authority = isolation.accounts["authority"]
    if isolation.group is None:
        layout.ready.chmod(0o700)
        layout.authority_socket.parent.chmod(0o700)
    else:
        os.chown(layout.ready, 0, 0)
        layout.ready.chmod(0o711)
        owner = 0 if authority.uid is None else authority.uid
        os.chown(layout.authority_socket.parent, owner, isolation.accounts["api"].gid)
        layout.authority_socket.parent.chmod(0o2750)  # the socket inherits the group, and only the authority makes it
    for kind in KINDS:
        account = isolation.accounts[kind.name]
        _provide_ready_file(layout.ready / kind.name, account)
        for folder in (layout.scratch(kind.name), *(layout.token(power) for power in kind.powers)):
            folder.mkdir(mode=0o700, exist_ok=True)
            account.own(folder)


def _provide_ready_file(path: Path, account: Account) -> None:
    """Make the file that a process writes its pid to; one that is there and its own is left alone."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        pass
    else:
        owner = os.geteuid() if account.uid is None else account.uid
        if stat.S_ISREG(found.st_mode) and found.st_uid == owner and found.st_nlink == 1:
            return
        path.unlink()
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640))
    account.own(path)


def _closed_to_others(layout: Layout) -> tuple[str, Path] | None:
    code = Path(__file__).parents[1]
    for what, path in (
        ("the interpreter", Path(sys.executable).parent),
        ("the standard library", Path(os.__file__).parent),
        ("the program", code),
        (f"the home (group {GROUP})", layout.home),
    ):
        folder = first_closed_folder(path)
        if folder is not None:
            return what, folder
    return None
