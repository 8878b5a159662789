"""Proofs that the installation gives of itself at the end: the log is whole, baselines and scores follow from the sequence.

Rules: each is a command of its own, so a fresh process finds it, from what is stored alone.
"""

import os
import subprocess
import sys
from pathlib import Path

from drills.runner.outcomes import Check

TIMEOUT_S = 120
PROOFS = (
    ("the audit log verifies", ("audit", "verify")),
    ("the baselines replay byte for byte", ("replay", "--verify")),
    ("every score is the same when scored again", ("replay", "--scores")),
)


def prove(home: Path) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Run every proof against a home; returns whether each held, and what those that did not have said."""
    held: list[Check] = []
    said: list[str] = []
    for name, arguments in PROOFS:
        done = subprocess.run(  # noqa: S603 - our own module
            [sys.executable, "-m", "service.cli", *arguments],
            env={**os.environ, "PORTCULLIS_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        held.append((name, done.returncode == 0))
        if done.returncode != 0:
            last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
            said.append(f"`portcullis {' '.join(arguments)}` ended with {done.returncode}: {last}")
    return tuple(held), tuple(said)
