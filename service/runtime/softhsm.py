"""Finding SoftHSM2, the software token of a machine without an HSM (design D7, D8).

Rules enforced here: the module is looked for in a fixed list of places, an explicit choice wins, and when it is nowhere
the message names the package to install; code of another user is never loaded, not even when root keeps his HOME. Each
token has its own configuration file and folder, which only the user of the process that opens it may read.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from service.domain.errors import ConfigurationError

VARIABLE: Final = "PORTCULLIS_PKCS11_MODULE"
PLACES: Final = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
    "/opt/homebrew/lib/softhsm/libsofthsm2.so",
)
CONFIGURATION: Final = """\
directories.tokendir = {tokens}
objectstore.backend = file
log.level = ERROR
slots.removable = false
"""


def unpacked_folders(environ: Mapping[str, str]) -> tuple[Path, ...]:
    """Return where scripts/install.sh unpacks SoftHSM2 for a user who may not install packages."""
    cache = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "/nonexistent")) / ".cache")
    folder = Path(cache) / "portcullis" / "softhsm"
    try:
        return (folder,) if folder.stat().st_uid == os.geteuid() else ()
    except OSError:
        return ()


def find_module(environ: Mapping[str, str] | None = None) -> Path:
    """Return the PKCS#11 module. Raises ConfigurationError that says what to install when there is none."""
    env = os.environ if environ is None else environ
    chosen = env.get(VARIABLE, "")
    if chosen:
        if not Path(chosen).is_file():
            raise ConfigurationError(
                f"{VARIABLE} is {chosen}, and no file is there: give the path of your token's PKCS#11 library"
            )
        return Path(chosen)
    for place in PLACES:
        if Path(place).is_file():
            return Path(place)
    for folder in unpacked_folders(env):
        found = next(iter(sorted(folder.glob("usr/lib/**/libsofthsm2.so"))), None)
        if found is not None:
            return found
    raise ConfigurationError(
        "no PKCS#11 module was found: run `apt-get install softhsm2` (or `make install`), or name your token's library"
        f" in {VARIABLE}"
    )


def write_configuration(folder: Path) -> Path:
    """Write softhsm2.conf and its token folder below `folder`, private to its owner; returns the file.

    One that is there already is left alone: it may point at real keys.
    """
    tokens = folder / "tokens"
    tokens.mkdir(mode=0o700, parents=True, exist_ok=True)
    configuration = folder / "softhsm2.conf"
    if not configuration.exists():
        configuration.touch(mode=0o600)
        configuration.write_text(CONFIGURATION.format(tokens=tokens))
    return configuration


def library_path(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return LD_LIBRARY_PATH for a SoftHSM2 that was unpacked rather than installed; empty otherwise."""
    env = os.environ if environ is None else environ
    for folder in unpacked_folders(env):
        found = {str(library.parent) for library in folder.glob("usr/lib/**/*.so*")}
        if found and not any(Path(place).is_file() for place in PLACES):
            return {"LD_LIBRARY_PATH": os.pathsep.join(sorted(found))}
    return {}
