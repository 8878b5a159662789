"""Ask each token how it is, as the user whose token it is: the checks themselves are `hsm doctor`'s.

Rules enforced here: the supervisor and `doctor` never open a token themselves (design D7).
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from service.runtime.accounts import Account, ensure_account, myself
from service.runtime.environment import base_environment, read_environment
from service.runtime.layout import Layout
from service.runtime.processes import POWERS, ProcessKind
from service.runtime.tokens import uri_variable

DOCTOR_TIMEOUT_S: Final = 60
OUTCOMES: Final = {"ok": "ok", "warn": "ok", "fail": "wrong"}
"""`hsm doctor`'s words to ours; every other answer is "cannot tell"."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One answer about one token; `outcome` is ok, wrong or cannot tell."""

    name: str
    outcome: str
    found: str
    advice: str


def check_tokens(layout: Layout) -> Iterator[Finding]:
    """Yield what `hsm doctor` says of every token."""
    for power, kind in POWERS:
        yield from _check(layout, power, kind)


def _check(layout: Layout, power: str, kind: ProcessKind) -> Iterator[Finding]:
    settings = read_environment(layout, kind.name)
    uri = (settings or {}).get(uri_variable(kind.powers, power))
    name = f"token {power}"
    if uri is None:
        yield Finding(name, "cannot tell", "no settings, or not ours to read", "run as the user who runs `up`")
        return
    done = subprocess.run(  # noqa: S603  our own module
        _owner(layout, kind).command(
            [sys.executable, "-P", "-m", "hsm", "doctor", "--power", power, "--uri", uri, "--json"]
        ),
        env=base_environment(layout, kind.name),
        cwd=layout.token(power),
        capture_output=True,
        text=True,
        check=False,
        timeout=DOCTOR_TIMEOUT_S,
    )
    try:
        answers = json.loads(done.stdout)[power]
    except (ValueError, KeyError):
        yield Finding(name, "wrong", (done.stderr or done.stdout).strip()[-500:], "run `portcullis hsm doctor`")
        return
    for answer in answers:
        yield Finding(
            f"{name}: {answer['name']}",
            OUTCOMES.get(str(answer["outcome"]), "cannot tell"),
            str(answer["seen"]),
            str(answer["advice"]),
        )


def _owner(layout: Layout, kind: ProcessKind) -> Account:
    """Return the user the token belongs to, read from its settings file rather than guessed."""
    if os.geteuid() != 0 or layout.environment(kind.name).stat().st_uid == 0:
        return myself()
    return ensure_account(kind.user) or myself()
