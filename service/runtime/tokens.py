"""One token per power, made by the user of the process that opens it (design D7).

Rules enforced here: the supervisor never opens a token; it runs `hsm init` as the user whose token it is; tokens of the
user's own HSM are left alone (`portcullis hsm init --uri` sets them up once, by a person). Public keys are pinned: each
process writes its own at the first start, then they belong to whoever runs `up`, because who could swap the vote key
could raise the gate, and who could swap the ballot key could read the codes of those who vote.
"""

import hashlib
import os
import secrets
import stat
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hsm.errors import HsmError
from hsm.power import GUARDIAN_LINE, Power
from hsm.softhsm import SoftHsmFolder, find_module
from hsm.uri import Pkcs11Uri
from service.domain.errors import ConfigurationError
from service.runtime.accounts import Account
from service.runtime.environment import base_environment
from service.runtime.isolation import Isolation
from service.runtime.layout import Layout, write_private
from service.runtime.processes import POWERS

INIT_TIMEOUT_S: Final = 120
PUBLIC_KEYS: Final = (
    *("authority-votes.pem", "authority-ballots.pem"),
    *("containment-seal.pem", "api-seal.pem", "gate-callback.pem"),
)
GUARDIAN_ADDRESS: Final = "guardian-address.txt"
"""Beside the public keys: the EVM address that pays for the guardian's transactions."""
SETUP_TOKEN_HASH: Final = "setup-token.sha256"  # noqa: S105  a file name


@dataclass(frozen=True, slots=True)
class Token:
    """Where one power's token is: an RFC 7512 URI and, for SoftHSM, its configuration file."""

    uri: str
    softhsm_conf: Path | None


class TokenSetUp:
    """The set-up of all embedded tokens, running while the servers start."""

    def __init__(self, tokens: Mapping[str, Token], running: Mapping[str, "subprocess.Popen[str]"]) -> None:
        self._tokens = tokens
        self._running = running

    def finish(self, layout: Layout) -> Mapping[str, Token]:
        """Wait for every token; returns them by power. Raises ConfigurationError naming the first that failed."""
        said = {power: process.communicate(timeout=INIT_TIMEOUT_S)[0] for power, process in self._running.items()}
        for power, process in self._running.items():
            if process.returncode != 0:
                raise ConfigurationError(
                    f"the token of power {power!r} cannot be used: {' '.join(said[power].split())}"
                )
        _publish_guardian(layout, said.get(Power.GUARDIAN.value, ""))
        return self._tokens

    def abandon(self) -> None:
        """End whatever still runs; a later start completes it."""
        for process in self._running.values():
            with process:
                process.kill()


def _publish_guardian(layout: Layout, said: str) -> None:
    """Write down where the guardian's coin goes, once its embedded token told; whoever runs `up` owns the file."""
    told = [line.removeprefix(GUARDIAN_LINE).strip() for line in said.splitlines() if line.startswith(GUARDIAN_LINE)]
    path = layout.public / GUARDIAN_ADDRESS
    if told and not (path.is_file() and path.read_text() == f"{told[0]}\n"):
        path.unlink(missing_ok=True)
        path.write_text(f"{told[0]}\n")
        path.chmod(0o644)


def begin_tokens(layout: Layout, isolation: Isolation, environ: Mapping[str, str]) -> TokenSetUp:
    """Begin to make whatever embedded token is missing.

    Raises ConfigurationError when there is no PKCS#11 module, or what a variable says of a token leads to none.
    """
    tokens = own_tokens(environ)
    running: dict[str, subprocess.Popen[str]] = {}
    for power, kind in POWERS:
        if power not in tokens:
            account = isolation.accounts[kind.name]
            tokens[power], where = _embedded(layout, power, account)
            running[power] = _begin_set_up(layout, power, account, where)
    return TokenSetUp(tokens, running)


def own_tokens(environ: Mapping[str, str]) -> dict[str, Token]:
    """Return the tokens of the user's own, by power.

    Raises ConfigurationError naming the variable whose URI is none, or whose module is not there.
    """
    found = {}
    for power, _kind in POWERS:
        variable, conf = f"PORTCULLIS_{power.upper()}_URI", environ.get(f"PORTCULLIS_{power.upper()}_SOFTHSM2_CONF")
        if not (uri := environ.get(variable)):
            continue
        try:
            module = Pkcs11Uri.parse(uri).need_file("module-path")
        except HsmError as error:
            raise ConfigurationError(f"{variable}: {error}") from error
        if not module.is_file():
            raise ConfigurationError(f"{variable}: the PKCS#11 module {module} is not there: correct its module-path")
        found[power] = Token(uri, Path(conf) if conf else None)
    return found


def token_environment(tokens: Mapping[str, Token], powers: tuple[str, ...]) -> dict[str, str]:
    """Return the settings that tell a process where its tokens are, and nothing of another's."""
    values: dict[str, str] = {}
    for power in powers:
        token = tokens[power]
        values[uri_variable(powers, power)] = token.uri
        if token.softhsm_conf is not None:
            values[_conf_variable(powers, power)] = str(token.softhsm_conf)
    return values


def uri_variable(powers: tuple[str, ...], power: str) -> str:
    """Return the setting that names a token: the first power's is PORTCULLIS_TOKEN_URI, others carry their name."""
    return "PORTCULLIS_TOKEN_URI" if power == powers[0] else f"PORTCULLIS_{power.upper()}_URI"


def _conf_variable(powers: tuple[str, ...], power: str) -> str:
    return "PORTCULLIS_SOFTHSM2_CONF" if power == powers[0] else f"PORTCULLIS_{power.upper()}_SOFTHSM2_CONF"


def open_public_folder(layout: Layout, isolation: Isolation) -> None:
    """Let processes write their public keys while one is missing; the sticky bit keeps each to its own file."""
    missing = [name for name in PUBLIC_KEYS if not (layout.public / name).exists()]
    if missing and isolation.group is not None:
        os.chown(layout.public, os.geteuid(), isolation.group)
        layout.public.chmod(0o3775)  # the others must read a key before it is pinned, and may never write it


def pin_public_keys(layout: Layout) -> None:
    """Take the public keys over, so that no process can change one any more.

    Raises ConfigurationError for one that is no file of its own: who made it so could change it later, or have us take
    over a file that is none of ours.
    """
    layout.public.chmod(0o755)
    for name in PUBLIC_KEYS:
        key = layout.public / name
        if not os.path.lexists(key):
            continue
        found = key.lstat()
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise ConfigurationError(f"{key} is a link and no file of its own: remove it and run `portcullis up` again")
        os.chown(key, os.geteuid(), os.getegid())
        key.chmod(0o644)


def provide_setup_token(layout: Layout, account: Account) -> str | None:
    """Make the one-time set-up token of a fresh home; returns it once, None when there was one already.

    The authority gets its SHA-256 only; the home's file is for the person who installs and for a drill.
    """
    stored = layout.token("authority") / SETUP_TOKEN_HASH
    if stored.exists():
        return None
    token = secrets.token_urlsafe(32)
    write_private(layout.setup_token, f"{token}\n")
    write_private(stored, f"{hashlib.sha256(token.encode()).hexdigest()}\n")
    account.own(stored)
    return token


def _embedded(layout: Layout, power: str, account: Account) -> tuple[Token, tuple[str, ...]]:
    """Make the files of one SoftHSM token where they are missing; returns it and what `hsm init` needs to know."""
    try:
        files = SoftHsmFolder(Power(power), layout.token(power), find_module(os.environ))
        files.prepare()
    except HsmError as error:
        raise ConfigurationError(str(error), field=error.field) from error
    account.own(files.folder, files.tokens, files.conf, files.pin_file, files.so_pin_file)
    return Token(files.uri, files.conf), ("--uri", files.uri, "--so-pin-file", str(files.so_pin_file))


def _begin_set_up(layout: Layout, power: str, account: Account, where: tuple[str, ...]) -> subprocess.Popen[str]:
    """Run `hsm init` for one token; it does nothing to one that is complete."""
    return subprocess.Popen(  # noqa: S603  our own module
        account.command([sys.executable, "-P", "-m", "hsm", "init", "--power", power, *where]),
        env=base_environment(layout, power),
        cwd=layout.token(power),  # a folder that its user may read
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
