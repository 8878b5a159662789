"""Environment files: what one process is told, and nothing of what another is told (design D7).

Rules enforced here: one file per process, readable by that process's user only; the child gets these values and a
minimal base, never the environment of whoever started `up`, because that may hold an administrator's URL.
"""

import os
import shlex
from collections.abc import Mapping
from typing import Final

from hsm.softhsm import library_path
from service.runtime.accounts import Account
from service.runtime.layout import Layout, write_private

PASSED_ON: Final = ("LANG", "LC_ALL", "SSL_CERT_FILE", "SSL_CERT_DIR")
PASSED_ON_OPTIONAL: Final = ("PORTCULLIS_DETECTORS", "PORTCULLIS_PLAYBOOKS", "PORTCULLIS_LOG_LEVEL")


def base_environment(layout: Layout, process: str, environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return what every child gets whatever it is."""
    env = os.environ if environ is None else environ
    scratch = str(layout.scratch(process))
    return {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": scratch,
        "TZ": "UTC",
        "PYTHONUNBUFFERED": "1",
        "MALLOC_ARENA_MAX": "2",
        "NUMBA_CACHE_DIR": f"{scratch}/numba",
        **library_path(env),
        **{name: env[name] for name in (*PASSED_ON, *PASSED_ON_OPTIONAL) if name in env},
    }


def write_environment(layout: Layout, process: str, account: Account, values: Mapping[str, str]) -> None:
    """Write one process's settings in a form both a shell and systemd read."""
    path = layout.environment(process)
    write_private(path, "".join(f"{name}={shlex.quote(value)}\n" for name, value in sorted(values.items())))
    account.own(path)


def read_environment(layout: Layout, process: str) -> dict[str, str] | None:
    """Return one process's settings as last written; None when there are none or we may not read them."""
    try:
        text = layout.environment(process).read_text()
    except OSError:
        return None
    return dict(word.partition("=")[::2] for word in shlex.split(text))
