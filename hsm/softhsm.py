"""SoftHSM2, the software token of a machine without an HSM: its library, and one folder per power (designs D7 and D8).

Rules held here:
- No token is opened here, so any process may ask where the files are.
- The library is looked for in a fixed list of places, an explicit choice wins, and when it is nowhere the message names
  the package to install. Code of another user is never loaded, not even when root keeps his HOME.
- The folder is 0700 and its files 0600; PINs are drawn once, from the operating system, and never overwritten.
- A configuration that names another token folder is reported, never replaced: it may point at real keys.
"""

import contextlib
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from hsm.errors import ModuleMissingError, TokenLayoutError
from hsm.power import Power
from hsm.uri import Pkcs11Uri

MODULE_VARIABLE: Final = "PORTCULLIS_PKCS11_MODULE"
INSTALL_COMMAND: Final = "apt-get install softhsm2"
PLACES: Final = (
    Path("/usr/lib/softhsm/libsofthsm2.so"),
    Path("/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"),
    Path("/usr/lib64/pkcs11/libsofthsm2.so"),
    Path("/usr/local/lib/softhsm/libsofthsm2.so"),
    Path("/opt/homebrew/lib/softhsm/libsofthsm2.so"),
)
LIBRARY: Final = "libsofthsm2.so"
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
        write_configuration(self.folder)
        lines = [line.replace(" ", "") for line in self.conf.read_text(encoding="utf-8").splitlines()]
        if f"directories.tokendir={self.tokens}".replace(" ", "") not in lines:
            raise TokenLayoutError(f"{self.conf} does not name {self.tokens}: correct its directories.tokendir")
        _write_once(self.pin_file, secrets.token_hex(PIN_BYTES) + "\n")
        _write_once(self.so_pin_file, secrets.token_hex(PIN_BYTES) + "\n")


def write_configuration(folder: Path) -> Path:
    """Write softhsm2.conf and its token folder in `folder`, private to their owner; returns the file.

    One that is there already is left alone: it may point at real keys.
    """
    for place in (folder, folder / "tokens"):
        place.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration = folder / "softhsm2.conf"
    _write_once(configuration, _CONFIGURATION.format(tokens=folder / "tokens"))
    return configuration


def find_module(environ: Mapping[str, str]) -> Path:
    """Return SoftHSM's library, or the one that PORTCULLIS_PKCS11_MODULE names.

    Raises ModuleMissingError that says what to install when there is none.
    """
    chosen = environ.get(MODULE_VARIABLE, "")
    if chosen:
        if not Path(chosen).is_file():
            raise ModuleMissingError(
                f"{MODULE_VARIABLE} is {chosen}, and no file is there: give the path of your token's PKCS#11 library",
                field="module-path",
            )
        return Path(chosen)
    unpacked = (found for folder in unpacked_folders(environ) for found in sorted(folder.glob(f"usr/lib/**/{LIBRARY}")))
    for place in (*PLACES, *unpacked):
        if place.is_file():
            return place
    raise ModuleMissingError(
        f"no PKCS#11 module was found: run `{INSTALL_COMMAND}` (or `make install`), or name your token's library in "
        f"{MODULE_VARIABLE}",
        field="module-path",
    )


def unpacked_folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where scripts/install.sh unpacks SoftHSM2 for a user who may not install packages."""
    cache = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "/nonexistent")) / ".cache")
    folder = Path(cache) / "portcullis" / "softhsm"
    try:
        return (folder,) if folder.stat().st_uid == os.geteuid() else ()
    except OSError:
        return ()


def library_path(environ: Mapping[str, str]) -> dict[str, str]:
    """Return LD_LIBRARY_PATH for a SoftHSM2 that was unpacked rather than installed; empty otherwise."""
    if any(place.is_file() for place in PLACES):
        return {}
    folders = unpacked_folders(environ)
    found = {str(library.parent) for folder in folders for library in folder.glob("usr/lib/**/*.so*")}
    return {"LD_LIBRARY_PATH": os.pathsep.join(sorted(found))} if found else {}


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
