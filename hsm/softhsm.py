"""SoftHSM folders: one per power, each with its own configuration, tokens, PINs and state (designs D7 and D8).

Rules held here:
- No token is opened here, so any process may ask where the files are.
- The folder is 0700 and its files 0600; PINs are drawn once, from the operating system, and never overwritten.
- A configuration that names another token folder is reported, never replaced: it may point at real keys.
"""

import contextlib
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hsm.errors import ModuleMissingError, TokenLayoutError
from hsm.power import Power
from hsm.uri import Pkcs11Uri

INSTALL_COMMAND: Final = "apt-get install softhsm2"
MODULE_CANDIDATES: Final = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
    Path("/opt/homebrew/lib/softhsm/libsofthsm2.so"),
)
PIN_BYTES: Final = 16
_CONFIGURATION: Final = """\
directories.tokendir = {tokens}
objectstore.backend = file
objectstore.umask = 0077
log.level = ERROR
slots.removable = false
slots.mechanisms = ALL
"""


@dataclass(frozen=True, slots=True)
class SoftHsmFolder:
    """The files of one power's SoftHSM token. `module` is SoftHSM's library."""

    power: Power
    folder: Path
    module: Path

    @property
    def conf(self) -> Path:
        """SoftHSM's configuration file."""
        return self.folder / "softhsm2.conf"

    @property
    def tokens(self) -> Path:
        """Where SoftHSM keeps the encrypted objects."""
        return self.folder / "tokens"

    @property
    def pin_file(self) -> Path:
        """The user PIN; only the power's own process may read it."""
        return self.folder / "pin"

    @property
    def so_pin_file(self) -> Path:
        """The security officer's PIN; needed for set-up only. Move it to a safe place afterwards."""
        return self.folder / "so-pin"

    @property
    def uri(self) -> str:
        """The RFC 7512 URI that opens this token, configuration included."""
        query = (
            ("module-path", str(self.module)),
            ("pin-source", f"file:{self.pin_file}"),
            ("x-softhsm-conf", str(self.conf)),
        )
        return str(Pkcs11Uri((("token", self.power.token_label),), query))

    def prepare(self) -> None:
        """Make the folder, configuration and PIN files where they are missing.

        Raises TokenLayoutError if a configuration is there that names another token folder.
        """
        for folder in (self.folder, self.tokens):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _write_once(self.conf, _CONFIGURATION.format(tokens=self.tokens))
        lines = [line.replace(" ", "") for line in self.conf.read_text(encoding="utf-8").splitlines()]
        if f"directories.tokendir={self.tokens}".replace(" ", "") not in lines:
            raise TokenLayoutError(f"{self.conf} does not name {self.tokens}: correct its directories.tokendir")
        _write_once(self.pin_file, secrets.token_hex(PIN_BYTES) + "\n")
        _write_once(self.so_pin_file, secrets.token_hex(PIN_BYTES) + "\n")


def find_module(candidates: Iterable[Path] = MODULE_CANDIDATES) -> Path:
    """Return the first module that exists. Raises ModuleMissingError with the command that installs SoftHSM."""
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise ModuleMissingError(f"SoftHSM 2 is not installed: run `{INSTALL_COMMAND}`", field="module-path")


def _write_once(path: Path, text: str) -> None:
    """Write a private file unless it exists; a crash leaves either nothing or the whole file."""
    if path.exists():
        return
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
    finally:
        draft.unlink(missing_ok=True)
