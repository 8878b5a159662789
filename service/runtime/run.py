"""Become one process with the settings that `up --only-prepare` wrote for it: for containers and systemd units.

Rules enforced here: the process gets exactly its own settings, as under `up`; nothing of this environment leaks in.
"""

import os
import pwd
import sys
from typing import NoReturn

from service.domain.errors import ConfigurationError, InputError
from service.runtime.environment import read_environment
from service.runtime.layout import Layout
from service.runtime.parts import withdraw
from service.runtime.processes import KINDS


def become(layout: Layout, name: str) -> NoReturn:
    """Replace this process. Raises InputError for an unknown name, ConfigurationError when there are no settings."""
    kind = next((kind for kind in KINDS if kind.name == name), None)
    if kind is None:
        raise InputError(f"there is no process {name!r}: one of {', '.join(k.name for k in KINDS)}", field="name")
    settings = read_environment(layout, name)
    if settings is None:
        raise ConfigurationError(
            f"{layout.environment(name)} is not there or not ours to read: run `portcullis up --only-prepare` first, and"
            f" run this as the user {kind.user}"
        )
    os.umask(0o027 if kind.user == pwd.getpwuid(os.getuid()).pw_name else 0o077)
    withdraw(layout.ready / name)
    os.chdir(layout.scratch(name))
    os.execve(sys.executable, [sys.executable, "-P", "-m", *kind.module], settings)  # noqa: S606  no shell is meant
