"""Proofs that the installation gives of itself at the end: the log is whole, baselines and scores follow from the sequence.

Rules: each is a command of its own, so a fresh process finds it, from what is stored alone.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from drills.runner.outcomes import Check

TIMEOUT_S = 300
PROOFS = (
    ("the audit log verifies", ("audit", "verify")),
    ("the baselines replay byte for byte", ("replay", "--verify")),
    ("every score is the same when scored again", ("replay", "--scores")),
)


def prove(home: Path) -> tuple[tuple[Check, ...], tuple[str, ...]]:
    """Run every proof against a home, all at once; returns whether each held, and what those that did not have said."""
    with ThreadPoolExecutor(len(PROOFS)) as at_once:
        told = list(at_once.map(lambda proof: _said(home, proof[1]), PROOFS))
    held = tuple((name, one is None) for (name, _), one in zip(PROOFS, told, strict=True))
    return held, tuple(one for one in told if one is not None)


def _said(home: Path, arguments: Sequence[str]) -> str | None:
    """Run one command; returns what a person should know when it failed, None when it did not."""
    done = subprocess.run(  # noqa: S603 - our own module
        [sys.executable, "-m", "service.cli", *arguments],
        env={**os.environ, "PORTCULLIS_HOME": str(home)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if done.returncode == 0:
        return None
    last = (done.stderr.strip() or done.stdout.strip() or "it said nothing").splitlines()[-1]
    return f"`portcullis {' '.join(arguments)}` ended with {done.returncode}: {last}"
