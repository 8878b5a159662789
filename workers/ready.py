"""Saying that this process is at work: its pid in home/run/ready/<process>, which `portcullis up` believes."""

import contextlib
import os
from pathlib import Path

from service.config import Settings


def announce(settings: Settings) -> None:
    """Write that this process is ready."""
    path = _file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"{os.getpid()}\n", encoding="ascii")


def withdraw(settings: Settings) -> None:
    """Take it back. The file stays: its folder is closed to the process that writes it."""
    with contextlib.suppress(FileNotFoundError):
        os.truncate(_file(settings), 0)


def _file(settings: Settings) -> Path:
    return settings.home / "run" / "ready" / settings.process
