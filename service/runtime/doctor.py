"""Look at each part of an installation and say what to do about what is wrong.

Rules enforced here: every check answers ok, wrong or "cannot tell", and the last is never counted as ok; a check that
fails in an unforeseen way says so and does not hide the others; nothing is changed. Tokens are opened with their own
PIN, unless a refused one is on record.
"""

import platform
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from importlib.metadata import version
from typing import Final
from urllib.parse import unquote

import psycopg
from sqlalchemy.exc import SQLAlchemyError

from service.domain.errors import PortcullisError
from service.runtime.database import CONNECT_TIMEOUT_S
from service.runtime.environment import read_environment
from service.runtime.errors import NotRunningError
from service.runtime.layout import LAYOUT_VERSION, LEAST_FREE_BYTES, Layout, holder
from service.runtime.processes import API, KINDS, SCHEDULE, ProcessKind
from service.runtime.servers import REDIS_VARIABLE, check_redis
from service.runtime.status import read_status
from service.runtime.token_checks import check_tokens
from service.runtime.tokens import PUBLIC_KEYS
from service.store.migrate import revisions

CLOCK_SAMPLE_S: Final = 0.2
MOST_CLOCK_STEP_S: Final = 0.05
MOST_SKEW_S: Final = 2.0
COMFORTABLE_FREE_BYTES: Final = 2 * 1024**3


class Outcome(Enum):
    """What a check found."""

    OK = "ok"
    WRONG = "wrong"
    CANNOT_TELL = "cannot tell"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at. `advice` says what to do, and is empty when it is ok."""

    name: str
    outcome: Outcome
    found: str
    advice: str = ""


def examine(layout: Layout) -> Iterator[Check]:
    """Yield every check, in the order a person would look."""
    looks: tuple[tuple[str, Callable[[Layout], Iterator[Check]]], ...] = (
        ("versions", _versions),
        ("home", _home),
        ("public keys", _public_keys),
        ("disk", _disk),
        ("clock", _clock),
        ("processes", _processes),
        ("database", _database),
        ("redis", _redis),
        ("tokens", _tokens),
    )
    for name, look in looks:
        try:
            yield from look(layout)
        except Exception as error:  # noqa: BLE001  one broken check must not hide the others
            yield Check(name, Outcome.CANNOT_TELL, f"{type(error).__name__}: {error}", "report this as a defect")


def _versions(_: Layout) -> Iterator[Check]:
    supported = (3, 11) <= sys.version_info[:2] <= (3, 14)
    yield Check(
        "python",
        Outcome.OK if supported else Outcome.WRONG,
        platform.python_version(),
        "" if supported else "use Python 3.11 to 3.14: remove .venv and run `make install`",
    )
    names = ("portcullis", "fastapi", "sqlalchemy", "celery", "PyKCS11")
    yield Check("packages", Outcome.OK, ", ".join(f"{name} {version(name)}" for name in names))


def _home(layout: Layout) -> Iterator[Check]:
    if not layout.version_file.exists():
        yield Check("home", Outcome.CANNOT_TELL, f"{layout.home} is not there yet", "run `portcullis up`")
        return
    found = layout.version_file.read_text().strip()
    fits = found == str(LAYOUT_VERSION)
    yield Check(
        "home",
        Outcome.OK if fits else Outcome.WRONG,
        f"{layout.home}, layout version {found}",
        "" if fits else f"this program works with version {LAYOUT_VERSION}: use the release that made the folder",
    )
    secret = [layout.environment(kind.name) for kind in KINDS] + [layout.home / "postgres-superuser"]
    readable = [path for path in secret if path.exists() and stat.S_IMODE(path.stat().st_mode) & 0o077]
    yield Check(
        "secret files",
        Outcome.WRONG if readable else Outcome.OK,
        ", ".join(map(str, readable)) or "closed to others",
        f"run `chmod 600 {' '.join(map(str, readable))}`, then restart so that passwords change" if readable else "",
    )


def _public_keys(layout: Layout) -> Iterator[Check]:
    """Every pinned key is there, and nobody but its owner could put another in its place."""
    paths = [layout.public / name for name in PUBLIC_KEYS]
    missing = [path for path in paths if not path.exists()]
    if missing:
        yield Check("public keys", Outcome.CANNOT_TELL, f"no {missing[0]}", "run `portcullis up`: it pins them")
        return
    loose = [path for path in (layout.public, *paths) if path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)]
    yield Check(
        "public keys",
        Outcome.WRONG if loose else Outcome.OK,
        f"others may write {loose[0]}" if loose else f"{len(paths)} pinned",
        f"run `chmod go-w {' '.join(map(str, loose))}`, and compare the files with a backup" if loose else "",
    )


def _disk(layout: Layout) -> Iterator[Check]:
    place = layout.home if layout.home.exists() else layout.home.parent
    free = shutil.disk_usage(place).free
    found = f"{free / 2**30:.1f} GB free"
    if free < LEAST_FREE_BYTES:
        yield Check("disk", Outcome.WRONG, found, "intake stops when the disk is full: free space now")
    elif free < COMFORTABLE_FREE_BYTES:
        yield Check("disk", Outcome.WRONG, found, f"keep {COMFORTABLE_FREE_BYTES / 2**30:.0f} GB free below {place}")
    else:
        yield Check("disk", Outcome.OK, found)


def _clock(layout: Layout) -> Iterator[Check]:
    before = time.time() - time.monotonic()
    time.sleep(CLOCK_SAMPLE_S)
    step = abs(time.time() - time.monotonic() - before)
    steady = step < MOST_CLOCK_STEP_S
    yield Check(
        "clock runs evenly",
        Outcome.OK if steady else Outcome.WRONG,
        f"wall and monotonic clock differ by {step * 1000:.1f} ms over {CLOCK_SAMPLE_S:.1f} s",
        "" if steady else "codes and expiries depend on the clock: let NTP slew it, do not step it",
    )
    yield _synchronised()
    url = _setting(layout, "PORTCULLIS_DATABASE_URL")
    if url is None:
        return
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            asked = time.time()
            row = connection.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    except psycopg.OperationalError:
        return
    skew = abs(float(row[0]) - asked) if row is not None else float("inf")
    yield Check(
        "clock agrees with the database",
        Outcome.OK if skew < MOST_SKEW_S else Outcome.WRONG,
        f"{skew:.2f} s apart",
        "" if skew < MOST_SKEW_S else "synchronise both machines by NTP",
    )


def _synchronised() -> Check:
    program = shutil.which("timedatectl", path="/usr/bin:/bin")
    said = ""
    if program is not None:
        done = subprocess.run(  # noqa: S603  fixed program, fixed arguments
            [program, "show", "--property=NTPSynchronized", "--value"],
            capture_output=True,
            text=True,
            check=False,
            timeout=5,
        )
        said = done.stdout.strip()
    name = "clock is synchronised"
    if said == "yes":
        return Check(name, Outcome.OK, "by NTP")
    if said == "no":
        return Check(name, Outcome.WRONG, "not by NTP", "run `timedatectl set-ntp true`")
    return Check(name, Outcome.CANNOT_TELL, "timedatectl does not tell here", "make sure the host runs NTP")


def _processes(layout: Layout) -> Iterator[Check]:
    try:
        status = read_status(layout)
    except NotRunningError:
        yield _not_running("processes")
        return
    for part in status.parts:
        fine = part.state == "ready"
        yield Check(
            f"process {part.name}",
            Outcome.OK if fine else Outcome.WRONG,
            f"{part.state}, {part.restarts} restarts",
            "" if fine else f"see {layout.log(part.name)}",
        )
    over = status.over_limit
    yield Check("memory", Outcome.WRONG if over else Outcome.OK, "; ".join(over) or f"{status.total_pss_mb:.0f} MB")


_MAY_LOCK: Final = """
SELECT has_function_privilege('portcullis_schedule', 'pg_advisory_lock(bigint)', 'EXECUTE')
  OR has_function_privilege('portcullis_api', 'pg_advisory_lock(integer, integer)', 'EXECUTE')
"""
"""The schedule needs no lock, and the API none of the workers' (`store/locks.py`)."""


def _database(layout: Layout) -> Iterator[Check]:
    url = _setting(layout, "PORTCULLIS_DATABASE_URL")
    if url is None or _ours_and_down(layout, url):
        yield _no_settings("database") if url is None else _not_running("database")
        return
    try:
        current, newest = revisions(url)
        with psycopg.connect(url, connect_timeout=CONNECT_TIMEOUT_S) as connection:
            server = connection.info.parameter_status("server_version") or "?"
            durable = connection.execute("SHOW synchronous_commit").fetchone() == ("on",)
            kept = connection.execute(_MAY_LOCK).fetchone() == (False,)
    except (SQLAlchemyError, psycopg.Error) as error:
        said = str(error).strip().partition("\n")[0]
        yield Check("database", Outcome.WRONG, said, "start it (`portcullis up`), or correct PORTCULLIS_DATABASE_URL")
        return
    yield Check("database", Outcome.OK, f"PostgreSQL {server}")
    yield Check(
        "commits are durable",
        Outcome.OK if durable else Outcome.WRONG,
        "synchronous_commit",
        "" if durable else "set synchronous_commit = on: an answered webhook must survive a power cut",
    )
    yield Check(
        "locks",
        Outcome.OK if kept else Outcome.WRONG,
        "only those who need them take advisory locks" if kept else "every role may take every advisory lock",
        ""
        if kept
        else "run `portcullis up` once with a superuser's PORTCULLIS_DATABASE_URL (docs/guides/own-servers.md)",
    )
    fits = current == newest
    yield Check(
        "migrations",
        Outcome.OK if fits else Outcome.WRONG,
        f"at {current}, newest {newest}",
        "" if fits else "restart `portcullis up`: it migrates",
    )


def _redis(layout: Layout) -> Iterator[Check]:
    url = _setting(layout, REDIS_VARIABLE, SCHEDULE)
    if url is None or _ours_and_down(layout, url):
        yield _no_settings("redis") if url is None else _not_running("redis")
        return
    try:
        check_redis(url)
    except PortcullisError as error:
        yield Check("redis", Outcome.WRONG, str(error), "nothing is lost while it is away; start it again")
    else:
        yield Check("redis", Outcome.OK, "answers")


def _tokens(layout: Layout) -> Iterator[Check]:
    for finding in check_tokens(layout):
        yield Check(finding.name, Outcome(finding.outcome), finding.found, finding.advice)


def _setting(layout: Layout, name: str, told: ProcessKind = API) -> str | None:
    return (read_environment(layout, told.name) or {}).get(name)


def _ours_and_down(layout: Layout, url: str) -> bool:
    """Whether a URL leads to an embedded server while no `up` runs it."""
    return holder(layout) is None and str(layout.sockets) in unquote(url)


def _not_running(name: str) -> Check:
    return Check(name, Outcome.CANNOT_TELL, "not running", "run `portcullis up` and ask again")


def _no_settings(name: str) -> Check:
    return Check(name, Outcome.CANNOT_TELL, "no settings, or not ours to read", "run as the user who runs `up`")
